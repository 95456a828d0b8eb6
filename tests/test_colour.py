"""Colour of our video files: tagged, placed where players look for it, and the same after any number of copies."""

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import reencode_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from relane.io.colour import Colour, colour_of, halve_chroma
from relane.io.video import probe, read_frames, write_video

YELLOW, BLUE, ROAD = (230, 190, 40), (40, 60, 220), (95, 95, 95)
BT709, BT601 = Colour(1, 1, 1), Colour()


def lines(upright: bool = True) -> np.ndarray:
    """A grey road with yellow lines 2, 3, 4 and 6 pixels wide, each from an even and from an odd pixel."""
    picture = np.full((64, 160, 3), ROAD, np.uint8)
    for number, width in enumerate((2, 2, 3, 3, 4, 4, 6, 6)):
        at = 12 + 18 * number + number % 2
        picture[:, at : at + width] = YELLOW
    return picture if upright else np.ascontiguousarray(picture.transpose(1, 0, 2))


def generations(folder: Path, picture: np.ndarray, count: int, colour: Colour = BT601) -> list[np.ndarray]:
    """The picture after 1 to `count` times through a file of the finest quality."""
    found = []
    for number in range(count):
        write_video(folder / f"{number}.mp4", [picture] * 2, 10, crf=1, colour=colour)
        picture = read_frames(folder / f"{number}.mp4")[0]
        found.append(picture)
    return found


def places(picture: np.ndarray, upright: bool) -> np.ndarray:
    """The centre of each of the eight lines across, in pixels, as the hollow of blue under yellow has it."""
    hollow = (ROAD[2] - picture[..., 2].astype(float)).mean(0 if upright else 1)
    cut = [np.arange(6 + 18 * number, 24 + 18 * number) for number in range(8)]
    return np.array([hollow[pixels] @ pixels / hollow[pixels].sum() for pixels in cut])


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("colour", [BT601, BT709])
def test_a_lines_colour_does_not_move_or_fade_over_four_generations(tmp_path, upright, colour):
    picture = lines(upright)
    first, *later = generations(tmp_path, picture, 4, colour)
    assert max(error(one, first) for one in later) < 0.6
    drawn = places(picture, upright)
    for one in (first, *later):
        assert abs(np.mean(places(one, upright) - drawn)) < 0.1


def test_the_blue_of_a_six_pixel_yellow_line_stays(tmp_path):
    """It rose from 40 to 52, 64 and 76 over three round trips."""
    picture = lines()
    inside = np.s_[16:48, 12 + 18 * 6 : 18 + 18 * 6, 2]
    levels = [float(one[inside].mean()) for one in generations(tmp_path, picture, 3)]
    assert levels[0] < 50
    assert max(levels) - min(levels) < 1


def test_a_road_of_fine_coloured_grain_stays(tmp_path):
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 1, (64, 96, 3)) * 5 + rng.normal(0, 1, (64, 96, 1)) * 15
    picture = np.clip(100 + grain + np.linspace(-30, 30, 96)[:, None], 0, 255).astype(np.uint8)
    found = generations(tmp_path, picture, 4)
    assert error(found[3], found[0]) < 1
    assert error(found[3], picture) < error(found[0], picture) + 0.3


def linear_filling(chroma: np.ndarray) -> np.ndarray:
    """4:2:0 chroma sited left, filled linearly to full size as players do: by hand, in floating point."""
    chroma = chroma.astype(float)
    wide = np.empty((chroma.shape[0], 2 * chroma.shape[1]))
    wide[:, ::2] = chroma
    wide[:, 1::2] = (chroma + np.concatenate([chroma[:, 1:], chroma[:, -1:]], 1)) / 2
    full = np.empty((2 * wide.shape[0], wide.shape[1]))
    full[::2] = 0.75 * wide + 0.25 * np.concatenate([wide[:1], wide[:-1]])
    full[1::2] = 0.75 * wide + 0.25 * np.concatenate([wide[1:], wide[-1:]])
    return full


sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


@settings(max_examples=60, deadline=None)
@given(st_numpy.arrays(np.uint8, sizes, elements=st.integers(20, 235)))
def test_chroma_that_was_filled_comes_down_again_as_it_was(chroma):
    found = halve_chroma(np.rint(linear_filling(chroma)).astype(np.uint8))
    assert np.abs(found.astype(int) - chroma).max() <= 1


def test_chroma_is_the_nearest_that_linear_filling_can_come_to_the_source():
    """Against the least-squares solution itself, away from the left and right edge."""
    rng = np.random.default_rng(0)
    full = rng.integers(60, 190, (16, 40)).astype(np.uint8)
    basis = np.stack([linear_filling(one.reshape(8, 20)).ravel() for one in np.eye(160)], 1)
    best = np.linalg.lstsq(basis, full.ravel().astype(float), rcond=None)[0].reshape(8, 20)
    assert np.abs(halve_chroma(full).astype(float) - best)[:, 3:-3].max() < 1


@pytest.mark.parametrize("colour", [BT601, BT709, Colour(5, 5, 6), Colour(1, 1, 13)])
def test_a_file_says_which_colours_it_holds(tmp_path, colour):
    write_video(tmp_path / "a.mp4", [lines()] * 2, 10, colour=colour)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        frame = next(container.decode(video=0))
        assert int(context.color_range) == int(frame.color_range) == 1
        assert colour_of(context) == colour_of(frame) == colour
        assert (int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)) == (
            colour.matrix, colour.primaries, colour.transfer,
        )  # fmt: skip
    assert probe(tmp_path / "a.mp4").colour == colour


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed")
@pytest.mark.parametrize(("colour", "name"), [(BT601, "smpte170m"), (BT709, "bt709")])
def test_an_independent_reader_finds_every_tag(tmp_path, colour, name):
    write_video(tmp_path / "a.mp4", [lines()] * 2, 10, colour=colour)
    keys = "color_range,color_space,color_transfer,color_primaries,chroma_location"
    command = ["ffprobe", "-v", "error", "-show_entries", f"stream={keys}", "-of", "default=nw=1", tmp_path / "a.mp4"]
    told = dict(line.split("=") for line in subprocess.check_output(command, text=True).split())
    assert told == {
        "color_range": "tv",
        "color_space": name,
        "color_transfer": name,
        "color_primaries": name,
        "chroma_location": "left",
    }


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize(("colour", "matrix"), [(BT601, "smpte170m"), (BT709, "bt709")])
def test_a_player_that_obeys_the_tags_sees_our_colours(tmp_path, colour, matrix):
    """Another build of FFmpeg, filling chroma at the place that H.264 means where nothing is said: left."""
    write_video(tmp_path / "a.mp4", [lines()] * 2, 10, crf=1, colour=colour)
    scale = (
        f"scale=in_color_matrix={matrix}:in_h_chr_pos=0:in_v_chr_pos=128:flags=bilinear+accurate_rnd+full_chroma_int"
    )
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.mp4", "-vf", scale, "-frames:v", "1"]
    raw = subprocess.check_output([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
    seen = np.frombuffer(raw, np.uint8).reshape(lines().shape)
    assert error(seen, read_frames(tmp_path / "a.mp4")[0]) < 1
    flat = np.full((32, 64, 3), YELLOW, np.uint8)
    write_video(tmp_path / "flat.mp4", [flat] * 2, 10, crf=1, colour=colour)
    command[4] = tmp_path / "flat.mp4"
    raw = subprocess.check_output([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
    assert np.abs(np.frombuffer(raw, np.uint8).reshape(flat.shape).astype(int) - flat).max() <= 3


def test_a_copy_has_the_tags_of_what_it_copies(tmp_path):
    write_video(tmp_path / "clip.mp4", [lines()] * 3, 10, colour=BT709)
    reencode_clip.main(["--clip", str(tmp_path / "clip.mp4"), "--output", str(tmp_path / "again.mp4")])
    assert probe(tmp_path / "again.mp4").colour == BT709
    assert error(read_frames(tmp_path / "again.mp4")[0], read_frames(tmp_path / "clip.mp4")[0]) < 2


def foreign_chroma(path: Path, place: int) -> None:
    """A foreign H.264 file of vertical yellow stripes in chroma alone, its chroma said to lie at place 0, 1, ...."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.options = {"crf": "0", "x264-params": f"chromaloc={place}"}
        planes = np.full((48, 64), 128, np.uint8)
        chroma = np.full((16, 32), 128, np.uint8)
        chroma[:, 12:20] = 60
        planes[32:] = np.stack([chroma, np.full_like(chroma, 128)]).reshape(16, 64)
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_a_foreign_file_is_read_by_the_place_of_its_own_chroma(tmp_path):
    """Between left (0) and centre (1) lies half a pixel."""
    centres = []
    for place in (0, 1):
        foreign_chroma(tmp_path / f"{place}.mp4", place)
        hollow = 128 - read_frames(tmp_path / f"{place}.mp4")[0][16, :, 2].astype(float)
        centres.append(hollow @ np.arange(64) / hollow.sum())
    assert centres[1] - centres[0] == pytest.approx(0.5, abs=0.1)
