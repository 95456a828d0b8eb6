"""What a clip's settings must satisfy together: for planning as for scripts/prepare_clip.py. Standard library only."""

from relane.errors import InputError


def check_lengths(fps: float, max_frames: int, min_frames: int) -> None:
    """Raise InputError where no clip can have that rate and those numbers of frames."""
    if fps <= 0 or max_frames < 1 or min_frames > max_frames:
        raise InputError(
            f"clip.fps {fps:g}, clip.max_frames {max_frames}, clip.min_frames {min_frames}: "
            "fps must be above 0 and max_frames at least 1 and at least min_frames"
        )
