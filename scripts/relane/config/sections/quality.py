"""Section `quality`: metrics of the edits (scripts/evaluate_edit.py)."""

from relane.config.option import Dtype, Section, option


class Quality(Section, key="quality"):
    """Metrics of the edits (`scripts/evaluate_edit.py`); their networks are named under `checkpoints`."""

    dtype: Dtype = option("float32", "Arithmetic of the CLIP models.")
