"""Clip and camera are read from a video's name, or the name is refused."""

import pytest

from relane.errors import InputError
from relane.names import parse_name


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("a-1.camera_front_wide_120fov.mp4", ("a-1", "camera_front_wide_120fov")),
        ("a.b.camera_rear_left_70fov_vp_edit_sample0.mp4", ("a.b", "camera_rear_left_70fov")),
        ("camera_front_wide_120fov.mp4", None),
        ("a.camera_front_wide_120fovx.mp4", None),
        ("a.camera_dash_90fov.mp4", None),
    ],
)
def test_clip_and_camera_are_told_by_the_name(name: str, parsed: tuple[str, str] | None) -> None:
    if parsed:
        assert parse_name(name) == parsed
        return
    with pytest.raises(InputError, match="expected <clip_id>"):
        parse_name(name)
