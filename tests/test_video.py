"""Video files of ours: what goes in comes out, frame by frame, and the same frames give the same bytes."""

import numpy as np
import pytest

from relane.errors import InputError
from relane.io.video import iter_frames, probe, read_frames, write_video
from tests.foreign_videos import numbered


def ramp(frames: int = 12, height: int = 32, width: int = 48) -> np.ndarray:
    """Grey frames whose level says which frame it is."""
    return np.stack([np.full((height, width, 3), 20 * i, np.uint8) for i in range(frames)])


def test_frame_i_of_the_file_is_frame_i_of_the_array(tmp_path):
    path = tmp_path / "a.mp4"
    assert write_video(path, iter(ramp()), fps=10) == 12
    levels = read_frames(path)[:, 16, 24].mean(-1)
    np.testing.assert_allclose(levels, 20 * np.arange(12), atol=3)
    info = probe(path)
    assert (info.width, info.height, info.fps, info.frames) == (48, 32, 10.0, 12)


def test_a_round_trip_does_not_darken(tmp_path):
    """Colours of a smooth picture come back without a bias: the default conversion loses more than one level."""
    y, x = np.mgrid[:48, :64]
    frame = np.stack([60 + 2 * x, 40 + 3 * y, 200 - x - y], -1).astype(np.uint8)
    write_video(tmp_path / "a.mp4", [frame] * 3, fps=10, crf=1)
    bias = (read_frames(tmp_path / "a.mp4").astype(int) - frame).mean()
    assert abs(bias) < 0.3


def test_the_same_frames_give_the_same_bytes_whatever_lay_in_memory_before(tmp_path):
    """x264 reads memory that nobody wrote: over narrow pictures with hard edges one encoding in fifty was another."""
    rng, files = np.random.default_rng(0), set()
    for _ in range(400):
        for size in rng.integers(1_000, 300_000, rng.integers(8)):
            np.full(size, rng.integers(256), np.uint8)
        write_video(tmp_path / "a.mp4", numbered(7), fps=30)
        files.add((tmp_path / "a.mp4").read_bytes())
    assert len(files) == 1


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def frames():
        yield from ramp(3)
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError):
        write_video(tmp_path / "a.mp4", frames(), fps=10)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"", "empty"), (b"hello" * 99, "not a readable")]
)
def test_a_file_that_is_no_video_is_named(tmp_path, content, words):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.mp4: .*{words}"):
        list(iter_frames(path))


def test_odd_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="even width and height"):
        write_video(tmp_path / "a.mp4", ramp(height=31), fps=10)
