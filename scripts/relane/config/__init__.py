"""The run's configuration: each option is declared once, in `sections`, and all else is made from that.

- `option`: what an option is declared with, and `Section`, the base of the declarations;
- `sections`: a module a section, so that a script depends on its own sections alone;
- `schema`: all sections together, and the JSON schema that config/schema.yaml holds;
- `arguments`: a section's options as a script's flags;
- `reading`: coercion, validation and identity of what a user gave;
- `checks`: what only the whole configuration tells;
- `files`: the text of config/config.yaml, config/schema.yaml and config/README.md (scripts/config_files.py).
"""
