"""Options of section `dataset` that the captioner takes (scripts/caption_frames.py)."""

from relane.config.option import Dtype, Positive, Section, Tokens, option


class Captioning(Section, key="dataset"):
    """How frames are captioned: the flags of scripts/caption_frames.py."""

    batch_size: Positive = option(16, "Frames a call of the captioner.")
    caption_max_tokens: Tokens = option(64, "Longest caption reply, in tokens.")
    crop: bool = option(False, "Show the captioner only the box around the road.")
    dtype: Dtype = option("bfloat16", "Arithmetic of the captioner.")
