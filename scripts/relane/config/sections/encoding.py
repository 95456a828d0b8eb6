"""Options of section `video` that every writer of an arm's video takes, of an edit or not."""

from typing import ClassVar

from relane.config.option import Section, option


class Encoding(Section):
    """How every arm's video is written."""

    KEY: ClassVar[str] = "video"

    crf: int = option(18, "H.264 quality of every arm's video, the original arm's too; 0 is lossless.", ge=0, le=51)
