"""Options of section `dataset` that the captioner takes (scripts/caption_frames.py)."""

from typing import ClassVar

from relane.config.option import Dtype, Section, option


class Captioning(Section):
    """How frames are captioned: the flags of scripts/caption_frames.py."""

    KEY: ClassVar[str] = "dataset"

    batch_size: int = option(16, "Frames a call of the captioner.", ge=1)
    caption_max_tokens: int = option(64, "Longest caption reply, in tokens.", unit="tokens", ge=1)
    crop: bool = option(False, "Show the captioner only the box around the road.")
    dtype: Dtype = option("bfloat16", "Arithmetic of the captioner.")
