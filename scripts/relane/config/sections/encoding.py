"""Options of section `video` that every writer of an arm's video takes, of an edit or not."""

from relane.config.option import Crf, Section, option


class Encoding(Section, key="video"):
    """How every arm's video is written."""

    crf: Crf = option(18, "H.264 quality of every arm's video, the original arm's too; 0 is lossless.")
