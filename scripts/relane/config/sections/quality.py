"""Section `quality`: metrics of the edits (scripts/evaluate_edit.py)."""

from typing import ClassVar

from relane.config.option import Dtype, Section, option


class Quality(Section):
    """Metrics of the edits (`scripts/evaluate_edit.py`); their networks are named under `checkpoints`."""

    KEY: ClassVar[str] = "quality"

    dtype: Dtype = option("float32", "Arithmetic of the CLIP models.")
