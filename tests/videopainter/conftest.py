"""The reduced reference outputs, and models with their tiny weights (32x48 pixels, windows of 9 frames)."""

import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))


@pytest.fixture(scope="session")
def golden():
    """The committed folder of reference outputs, through the class that the check script uses."""
    from check_videopainter import Golden

    return Golden(GOLDEN / "videopainter")
