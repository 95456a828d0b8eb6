"""Names of cameras and of videos: `<clip_id>.<camera>`, with whatever a stage appends. Standard library only."""

import re
from pathlib import Path, PurePosixPath

from relane.errors import InputError

# The seven cameras of PhysicalAI-AV by sensor index, the order in which the driving model reads them.
CAMERAS = (
    "camera_cross_left_120fov",
    "camera_front_wide_120fov",
    "camera_cross_right_120fov",
    "camera_rear_left_70fov",
    "camera_rear_tele_30fov",
    "camera_rear_right_70fov",
    "camera_front_tele_30fov",
)
_VIDEO = re.compile(rf"(?P<clip>[^/]+?)\.(?P<camera>{'|'.join(CAMERAS)})(?:[^A-Za-z0-9].*)?\.mp4")


def parse_name(path: str | Path) -> tuple[str, str]:
    """Clip id and camera from a video's name, `<clip_id>.<camera>...mp4`. Raises InputError when it does not parse."""
    match = _VIDEO.fullmatch(PurePosixPath(path).name)
    if match is None:
        raise InputError(
            f"{path}: cannot tell clip and camera from this name; expected <clip_id>.<camera>...mp4 with a camera of "
            f"{', '.join(CAMERAS)}"
        )
    return match["clip"], match["camera"]
