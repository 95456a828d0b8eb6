"""Silent properties of sources: colours, pixels that are not square, interlacing, tracks, holes. Handled or refused."""

import json
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import prepare_clip
import pytest

from relane.data import timed_video
from relane.data.timed_video import Source
from relane.errors import InputError
from relane.io import wide_colour
from relane.io.colour import Colour
from relane.io.video import probe, read_frames
from tests import foreign_videos
from tests.foreign_videos import number_of, numbered

GREY, LINE = (120, 118, 116), (230, 190, 40)


def prepare(folder: Path, **flags: object) -> tuple[np.ndarray, dict]:
    """The clip of `v.mp4` and its sidecar."""
    named = {"uri": folder / "v.mp4", "clip-id": "a", "camera": "front", "output": folder / "a.mp4"}
    named |= {"min-frames": 1, "record-failures": "false"}
    named |= {"sidecar": folder / "a.json"} | {key.replace("_", "-"): value for key, value in flags.items()}
    prepare_clip.main([f"--{key}={value}" for key, value in named.items()])
    return read_frames(folder / "a.mp4"), json.loads((folder / "a.json").read_text())


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Grey with a broad upright line."""
    image = np.full((height, width, 3), GREY, np.uint8)
    image[:, width // 4 : width // 2] = LINE
    return image


# Tags that are followed


@pytest.mark.parametrize(
    ("tags", "matrix", "written"),
    [
        (None, None, Colour(6, 6, 6)),
        ((1, 1, 1), 1, Colour(1, 1, 1)),
        ((6, 6, 6), 5, Colour(6, 6, 6)),
        ((5, 5, 6), 5, Colour(5, 5, 6)),
        ((1, 2, 2), 1, Colour(1, 6, 6)),
        ((2, 1, 13), None, Colour(6, 1, 13)),
    ],
)
def test_a_clip_follows_its_sources_tags_and_says_what_was_assumed(tmp_path, tags, matrix, written):
    foreign_videos.write(tmp_path / "v.mp4", [picture()] * 6, tags=tags, matrix=matrix)
    frames, record = prepare(tmp_path)
    assert probe(tmp_path / "a.mp4").colour == written
    assert record["colour"] == {"matrix": written.matrix, "primaries": written.primaries, "transfer": written.transfer}
    assert np.abs(frames[0][8:40, 20:28].astype(int) - LINE).max() <= 4


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "words"),
    [
        ("yuvj420p", "libx264", ["levels brought from full to limited range"]),
        ("yuv420p10le", "libx264", ["converted from yuv420p10le to 8-bit yuv420p"]),
        ("rgb24", "libx264rgb", ["converted from gbrp to 8-bit yuv420p"]),
        ("yuv444p", "libx264", ["converted from yuv444p to 8-bit yuv420p"]),
    ],
)
def test_full_range_depth_and_rgb_sources_keep_their_colours(tmp_path, pix_fmt, codec, words):
    foreign_videos.write(tmp_path / "v.mp4", [picture()] * 6, pix_fmt=pix_fmt, codec=codec)
    frames, record = prepare(tmp_path)
    assert record["changes"] == words
    assert np.abs(frames[0][8:40, 20:28].astype(int) - LINE).max() <= 4
    assert np.abs(frames[0][8:40, 44:60].astype(int) - GREY).max() <= 3


# Wide gamuts and HDR


def signals(light: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """BT.709 light (1: white) as R'G'B' from 0 to 1 of other primaries and transfer, by the published formulas."""
    xy = {
        1: [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)],
        9: [(0.708, 0.292), (0.170, 0.797), (0.131, 0.046)],
        12: [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)],
    }

    def to_xyz(points):
        basis = np.array([[x / y, 1, (1 - x - y) / y] for x, y in points]).T
        return basis * np.linalg.solve(basis, [0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])

    light = light @ (np.linalg.inv(to_xyz(xy[primaries])) @ to_xyz(xy[1])).T
    if transfer == 16:
        power = (light * 203 / 10_000) ** (2610 / 16384)
        return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    if transfer == 18:
        light = light * 203 / 1000
        luminance = light @ [0.2627, 0.6780, 0.0593]
        scene = light * (luminance ** (1 / 1.2 - 1))[..., None]
        curve = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), curve)
    return light ** (1 / 2.4)


PATCHES = np.array([[1, 1, 1], [0.82, 0.82, 0.82], [0.2, 0.2, 0.2], [0.7, 0.4, 0.02], [0.05, 0.1, 0.6], [1e-4] * 3])


@pytest.mark.parametrize(("primaries", "transfer"), [(9, 16), (9, 18), (9, 14), (9, 1), (12, 1), (1, 16)])
def test_light_comes_back_from_any_gamut_and_curve(primaries, transfer):
    coded = np.rint(signals(PATCHES, primaries, transfer) * 65535).astype(np.uint16)[None]
    found = wide_colour.to_bt709(coded, primaries, transfer)[0]
    np.testing.assert_allclose(found, PATCHES ** (1 / 2.4) * 255, atol=1)


def test_white_of_the_standards_themselves():
    """BT.2408: reference white is 58 % of PQ's signal and 75 % of HLG's."""
    for transfer, signal in ((16, 0.5807), (18, 0.75)):
        white = np.full((1, 1, 3), round(signal * 65535), np.uint16)
        assert wide_colour.to_bt709(white, 9, transfer).min() >= 253
    assert wide_colour.to_bt709(np.full((1, 1, 3), 65535, np.uint16), 9, 16).min() == 255


def write_deep(path: Path, light: np.ndarray, primaries: int, transfer: int, matrix: int = 9) -> None:
    """A 10-bit H.264 file of one flat colour."""
    signal = np.rint(np.clip(signals(light, primaries, transfer), 0, 1) * 65535).astype(np.uint16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        stream.options = {"crf": "4"}
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = matrix, primaries, transfer
        image = np.ascontiguousarray(np.broadcast_to(signal, (48, 64, 3)))
        for _ in range(9):
            frame = av.VideoFrame.from_ndarray(image, format="rgb48le")
            container.mux(stream.encode(frame.reformat(format="yuv420p10le", dst_colorspace=matrix)))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("primaries", "transfer", "words"),
    [
        (9, 16, "tone-mapped from BT.2020 PQ (HDR) to BT.709: 203 cd/m2 is white, brighter light is clipped"),
        (9, 18, "tone-mapped from BT.2020 HLG (HDR) to BT.709: 203 cd/m2 is white, brighter light is clipped"),
        (9, 14, "colours brought from BT.2020 to BT.709"),
        (12, 1, "colours brought from Display P3 to BT.709"),
    ],
)
def test_a_white_line_filmed_in_hdr_is_white_in_the_clip_and_the_clip_says_so(tmp_path, primaries, transfer, words):
    """235 was 143 in the clip, and nothing but the depth was said."""
    for level in (235, 90):
        light = np.full(3, (level / 255) ** 2.4)
        write_deep(tmp_path / "v.mp4", light, primaries, transfer)
        frames, record = prepare(tmp_path)
        assert np.abs(frames.astype(int) - level).max() <= 3
        assert words in record["changes"]
        assert probe(tmp_path / "a.mp4").colour == Colour(1, 1, 1)


@pytest.mark.parametrize(
    ("tags", "words"),
    [((1, 1, 8), "linear light"), ((1, 1, 9), "logarithmic"), ((9, 9, 2), "whether it is SDR, PQ or HLG")],
)
def test_colours_that_cannot_be_known_are_refused_with_what_to_do(tmp_path, tags, words):
    foreign_videos.write(tmp_path / "v.mp4", [picture()] * 6, tags=tags)
    with pytest.raises(InputError, match=words):
        prepare(tmp_path)
    assert not (tmp_path / "a.mp4").exists()


# Shape of pixels, interlacing, tracks


@pytest.mark.parametrize(("aspect", "size"), [("4:3", (86, 48)), ("3:4", (64, 64)), ("16:11", (94, 48))])
def test_pixels_that_are_not_square_are_made_so(tmp_path, aspect, size):
    foreign_videos.write(tmp_path / "v.mp4", [picture()] * 6, x264=f"sar={aspect.replace(':', '/')}")
    frames, record = prepare(tmp_path)
    assert (frames.shape[2], frames.shape[1]) == size
    assert record["changes"][0].startswith(f"scaled to square pixels: 64x48 with pixels {aspect}")
    line = np.nonzero(frames[0][size[1] // 2, :, 2] < 80)[0]
    assert abs(len(line) - size[0] / 4) <= 2


def test_turned_pixels_that_are_not_square_are_widened_before_they_are_turned(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", [picture()] * 6, x264="sar=4/3", rotation=90)
    frames, _ = prepare(tmp_path)
    assert frames.shape[1:3] == (86, 48)


def test_a_pixel_shape_that_no_camera_has_is_refused(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", [picture()] * 6, x264="sar=40/1")
    with pytest.raises(InputError, match="pixels are said to be 40:1"):
        prepare(tmp_path)


def test_interlaced_frames_are_refused_with_the_command(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", [picture(64)] * 6, x264="tff=1")
    with pytest.raises(InputError, match=r"interlaced.*ffmpeg -i .*v\.mp4' -vf bwdif"):
        prepare(tmp_path)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_the_command_against_interlacing_works(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", [picture(64)] * 6, x264="tff=1")
    with pytest.raises(InputError) as caught:
        prepare(tmp_path)
    command = str(caught.value)[str(caught.value).index("ffmpeg -i") :]
    subprocess.run(command.replace("ffmpeg", "ffmpeg -v error", 1), shell=True, cwd=tmp_path, check=True)
    (tmp_path / "mended.mp4").rename(tmp_path / "v.mp4")
    frames, _ = prepare(tmp_path)
    assert frames.shape[1:3] == (64, 64)


def test_of_several_tracks_the_clip_says_which_it_shows(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(6), tracks=2)
    frames, record = prepare(tmp_path)
    assert frames.shape[1:3] == (48, 64)
    assert record["changes"] == ["of the file's 2 video tracks 0 (64x48) is read; not 1 (32x24)"]


# Times


def test_an_edit_list_is_obeyed(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(17))
    foreign_videos.hide_frames(tmp_path / "v.mp4", 4, 13)
    timed = timed_video.timed_frames(Source(tmp_path / "v.mp4", "v"))
    found = [(now, number_of(frame.to_ndarray(format="rgb24"))) for now, frame in timed]
    assert [number for _, number in found] == list(range(4, 17))
    assert found[0][0] == 0


def test_a_hole_is_told_with_its_length_and_its_largest_error(tmp_path):
    times = [n * 100_000 for n in (*range(20), *range(37, 60))]
    foreign_videos.write(tmp_path / "v.mp4", numbered(43), times_us=times)
    _, record = prepare(tmp_path)
    (told,) = record["changes"]
    assert told.startswith("17 of 60 frames show the frame before once more")
    assert f"up to {record['max_error_us'] / 1000:.1f} ms" in told
    assert "9 in a row" in told


def test_a_source_of_one_frame_a_second_is_no_clip_of_ten(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(6), fps=1)
    with pytest.raises(InputError, match=r"6 frames of the source would make \d+ of the clip at 10 fps"):
        prepare(tmp_path)
    assert not list(tmp_path.glob("a.*"))
    frames, record = prepare(tmp_path, fps=1)
    assert (len(frames), record["changes"]) == (6, [])


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize(("tags", "mended"), [((8, 1, 1), Colour(1, 1, 1)), ((9, 9, 2), Colour(1, 1, 1))])
def test_the_commands_against_unknown_colours_work(tmp_path, tags, mended):
    foreign_videos.write(tmp_path / "v.mp4", [picture()] * 6, tags=tags)
    with pytest.raises(InputError) as caught:
        prepare(tmp_path)
    command = str(caught.value)[str(caught.value).index("ffmpeg -i") :].partition(" (hevc")[0]
    done = subprocess.run(command.replace("ffmpeg", "ffmpeg -v error", 1), shell=True, cwd=tmp_path, check=False)
    if done.returncode and "zscale" in command:
        pytest.skip("this ffmpeg has no zscale")
    (tmp_path / "mended.mp4").rename(tmp_path / "v.mp4")
    prepare(tmp_path)
    assert probe(tmp_path / "a.mp4").colour == mended
