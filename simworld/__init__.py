"""The synthetic world, the tiny models that learn it, and what judges them. It imports `relane`, never the other way.

`world` renders drives and writes them as a data set; `tiny` builds the small models, `learning` trains them; the
programs are in `programs/`, what measures the models in `benchmarks/`, the training's rules in `rules/`.
"""
