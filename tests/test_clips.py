"""Foreign video: true times, nearest frames, upright and even pictures, and damage that is named."""

import hashlib
import weakref
import zipfile
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.data import clips, sources, timed_video
from relane.data.sheet import Clip
from relane.data.timed_video import Source
from relane.errors import InputError
from tests import foreign_videos
from tests.foreign_videos import CAMERA, number_of, numbered


def source(path: Path) -> Source:
    return Source(path, str(path))


def test_times_of_a_variable_rate_video_are_its_own(tmp_path: Path):
    times = [0, 40_000, 50_000, 300_000, 1_000_000]
    foreign_videos.write(tmp_path / "v.mp4", numbered(5), times_us=times)
    found = [
        (now, number_of(frame.to_ndarray(format="rgb24")))
        for now, frame in timed_video.timed_frames(source(tmp_path / "v.mp4"))
    ]
    assert [now for now, _ in found] == times
    assert [number for _, number in found] == [0, 1, 2, 3, 4]


def test_the_clock_starts_at_the_first_frame_even_when_the_file_starts_later(tmp_path: Path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(3), times_us=[500_000, 600_000, 700_000])
    assert [now for now, _ in timed_video.timed_frames(source(tmp_path / "v.mp4"))] == [0, 100_000, 200_000]


def test_time_stamps_that_came_beside_the_video_win(tmp_path: Path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(3))
    stamped = Source(tmp_path / "v.mp4", "v", np.array([1_500, 34_900, 68_000]))
    assert [now for now, _ in timed_video.timed_frames(stamped)] == [1_500, 34_900, 68_000]
    with pytest.raises(InputError, match="3 frames but 2 time stamps"):
        list(timed_video.timed_frames(Source(tmp_path / "v.mp4", "v", np.array([0, 1]))))


# Picking


def test_the_grid_goes_through_t0_exactly_and_ends_there_when_asked():
    assert clips.wanted_times(-16_000, 10, 4, 5_100_000, ends_there=True) == [
        4_800_000,
        4_900_000,
        5_000_000,
        5_100_000,
    ]
    assert clips.wanted_times(-16_000, 10, 99, 250_000, ends_there=True) == [50_000, 150_000, 250_000]
    assert clips.wanted_times(20_000, 10, 3, 5_100_000, ends_there=False) == [100_000, 200_000, 300_000]
    assert clips.wanted_times(20_000, 10, 3, 20_000, ends_there=False) == [20_000, 120_000, 220_000]


@given(
    first=st.integers(-(10**6), 10**7),
    t0=st.integers(0, 2 * 10**7),
    fps=st.sampled_from([5.0, 8.0, 10.0, 30000 / 1001]),
    count=st.integers(1, 200),
    ends=st.booleans(),
)
def test_wanted_times_never_lie_before_the_source_and_are_as_early_or_late_as_they_can(first, t0, fps, count, ends):
    wanted = clips.wanted_times(first, fps, count, t0, ends)
    assert len(wanted) <= count
    assert all(time >= first - 1 for time in wanted)
    assert all(abs((time - t0) * fps / 1e6 - round((time - t0) * fps / 1e6)) < 1e-4 for time in wanted)
    if ends and t0 >= first:
        assert wanted[-1] == t0
    if not ends:
        assert len(wanted) == count
        assert wanted[0] - first < 1e6 / fps + 1


@settings(max_examples=200)
@given(
    times=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60, unique=True).map(sorted),
    wanted=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=40).map(sorted),
    slack=st.integers(0, 100_000),
)
def test_every_picked_frame_is_the_nearest_of_all(times: list[int], wanted: list[int], slack: int):
    """Against the plain definition: smallest distance, the earlier of two; nothing far past the end."""
    picked = list(clips.pick_nearest(((time, time) for time in times), wanted, slack))
    served = [time for time in wanted if time <= times[-1] + slack]
    assert [one.wanted_us for one in picked] == served
    assert [one.t_us for one in picked] == [min(times, key=lambda t: (abs(t - time), t)) for time in served]
    assert all(one.frame == one.t_us for one in picked)


def test_picking_stops_reading_when_the_window_is_full():
    def endless():
        for number in range(10**9):
            assert number < 10, "read on after the last wanted time"
            yield number * 100_000, number

    assert [one.frame for one in clips.pick_nearest(endless(), [0, 250_000, 700_000], 0)] == [0, 2, 7]


def test_picking_holds_two_frames_however_long_the_source_is():
    class Frame:
        pass

    alive = weakref.WeakSet()

    def frames():
        for number in range(1_000):
            frame = Frame()
            alive.add(frame)
            assert len(alive) <= 3  # the one before, this one, and the one that the caller may still hold
            yield number, frame

    for _ in clips.pick_nearest(frames(), [0, 10, 990], 0):
        pass


# Pixels


def marked(height: int = 48, width: int = 64) -> np.ndarray:
    """A picture with another colour in each corner, so that every turn and mirroring shows."""
    image = np.full((height, width, 3), 128, np.uint8)
    half_h, half_w = height // 2, width // 2
    image[:half_h, :half_w], image[:half_h, half_w:] = (220, 40, 40), (40, 220, 40)
    image[half_h:, :half_w] = (40, 40, 220)
    return image


def first(path: Path) -> np.ndarray:
    return timed_video.to_rgb(next(timed_video.timed_frames(source(path)))[1])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_rotation_and_mirroring_in_the_metadata_are_applied(tmp_path: Path, quarter_turns: int, mirrored: bool):
    foreign_videos.write(tmp_path / "v.mp4", [marked()] * 2, rotation=90 * quarter_turns, mirrored=mirrored)
    seen = np.rot90(marked(), quarter_turns)  # counter-clockwise, as PyAV counts
    seen = seen[:, ::-1] if mirrored else seen
    found = first(tmp_path / "v.mp4")
    assert found.shape == seen.shape
    assert np.abs(found.astype(int) - seen).mean() < 6


def test_odd_sizes_lose_their_last_row_and_column(tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)[:47, :63]
    foreign_videos.write(tmp_path / "v.mp4", [image] * 2, pix_fmt="yuv444p")
    found = first(tmp_path / "v.mp4")
    assert found.shape == (46, 62, 3)
    assert np.abs(found.astype(int) - image[:46, :62]).mean() < 4


@pytest.mark.parametrize(("pix_fmt", "sound"), [("yuv420p10le", False), ("yuv420p", True), ("yuvj420p", False)])
def test_ten_bits_full_range_and_sound_come_out_with_the_right_colours(tmp_path: Path, pix_fmt: str, sound: bool):
    foreign_videos.write(tmp_path / "v.mp4", [marked()] * 3, pix_fmt=pix_fmt, sound=sound)
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert len(container.streams.audio) == sound
    found = first(tmp_path / "v.mp4").astype(int)
    inside = found[4:20, 4:28] - marked()[4:20, 4:28]  # away from the edges, where chroma is shared
    assert np.abs(inside).max() <= 2


# Damage


def noisy(count: int = 60) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3), np.uint8))


@pytest.mark.parametrize("share", [0.95, 0.5, 0.1])
def test_a_truncated_mp4_with_its_index_in_front_says_how_much_can_be_decoded(tmp_path: Path, share: float):
    foreign_videos.write(tmp_path / "v.mp4", noisy(), faststart=True)
    foreign_videos.truncate(tmp_path / "v.mp4", share)
    with pytest.raises(InputError, match=r"v\.mp4: the file is cut short: .* \d+ of 60 frames can be decoded"):
        next(timed_video.timed_frames(source(tmp_path / "v.mp4")))


def test_a_truncated_mp4_with_its_index_at_the_end_an_empty_and_a_text_file(tmp_path: Path):
    foreign_videos.write(tmp_path / "cut.mp4", noisy(10))
    foreign_videos.truncate(tmp_path / "cut.mp4", 0.9)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    messages = {}
    for name in ("cut", "empty", "text", "none"):
        with pytest.raises(InputError) as caught:
            next(timed_video.timed_frames(source(tmp_path / f"{name}.mp4")))
        messages[name] = str(caught.value)
        assert f"{name}.mp4" in messages[name]
    assert "is it complete" in messages["cut"]
    assert "0 bytes" in messages["empty"]
    assert "not a readable video" in messages["text"]
    assert "no such file" in messages["none"]


def test_a_stream_that_breaks_in_the_middle_says_after_how_many_frames(tmp_path: Path):
    foreign_videos.write(tmp_path / "v.mp4", noisy(), faststart=True)
    data = bytearray((tmp_path / "v.mp4").read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 9_000] = b"\xff" * 9_000
    (tmp_path / "v.mp4").write_bytes(data)
    with pytest.raises(InputError, match=r"decoding broke after \d+ frames|frame \d+ is damaged"):
        list(timed_video.timed_frames(source(tmp_path / "v.mp4")))


def test_a_file_with_sound_only_is_no_video(tmp_path: Path):
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1_024), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 16_000
        container.mux(stream.encode(tone))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no video stream"):
        timed_video.open_source(source(tmp_path / "v.mp4"))


# Fetching


def fetch(uri: str, folder: Path, checksum: str = "", pai_root: str = "", clip_id: str = "a") -> Source:
    folder.mkdir(exist_ok=True)
    return clips.fetch(uri, pai_root, clip_id, CAMERA, checksum, folder)


def test_a_remote_object_is_downloaded_and_held_to_its_checksum(tmp_path: Path):
    fsspec.filesystem("memory").pipe_file("/b/a.mp4", b"bytes")
    right = "md5:" + hashlib.md5(b"bytes").hexdigest()
    assert fetch("memory://b/a.mp4", tmp_path / "f", right).path.read_bytes() == b"bytes"
    with pytest.raises(InputError, match=r"memory://b/a\.mp4: its md5 is .* --refresh"):
        fetch("memory://b/a.mp4", tmp_path / "f", "md5:00")
    with pytest.raises(InputError, match=r"memory://b/a\.mp4: changed since it was listed"):
        fetch("memory://b/a.mp4", tmp_path / "f", "generation:7")
    with pytest.raises(InputError, match=r"memory://b/none\.mp4: cannot be fetched"):
        fetch("memory://b/none.mp4", tmp_path / "f")


def test_a_local_file_that_changed_since_it_was_locked_is_refused(tmp_path: Path):
    (tmp_path / "a.mp4").write_bytes(b"new")
    assert fetch(str(tmp_path / "a.mp4"), tmp_path / "f", "sha256:" + hashlib.sha256(b"new").hexdigest())
    with pytest.raises(InputError, match="the file changed"):
        fetch(str(tmp_path / "a.mp4"), tmp_path / "f", "sha256:" + hashlib.sha256(b"old").hexdigest())


def test_a_clip_of_the_data_set_comes_out_of_its_zip_with_its_times(tmp_path: Path):
    root = foreign_videos.dataset(tmp_path / "pai", ["a"], frames=4, offset_us=1_500)
    uri = str(root / "camera" / CAMERA / f"{CAMERA}.chunk_0000.zip")
    found = fetch(uri, tmp_path / "f", pai_root=str(root))
    assert [now for now, _ in timed_video.timed_frames(found)] == [1_500, 34_833, 68_167, 101_500]
    with pytest.raises(InputError, match="another chunk"):
        fetch(uri, tmp_path / "f", pai_root=str(root), clip_id="b")
    with pytest.raises(InputError, match="its crc32 is"):
        fetch(uri, tmp_path / "f", "crc32:00000000", pai_root=str(root))
    foreign_videos.truncate(Path(uri), 0.5)
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch(uri, tmp_path / "f", pai_root=str(root))


@pytest.mark.parametrize(
    ("column", "times", "words"),
    [
        ("timestamp", [0, 66_667, 33_333, 100_000], r"do not increase \(frame 2\)"),
        ("timestamp", [0, 33_333, 33_333, 66_667], r"do not increase \(frame 2\)"),
        ("timestamp", np.array([], np.int64), "empty"),
        ("timestamp", [0, None, 3, 4], "missing in places"),
        ("timestamp", [0.5, 1.5, 2.5, 3.5], "no whole microseconds"),
        ("timestamp", ["a", "b", "c", "d"], "no whole microseconds"),
        ("time", [0, 1, 2, 3], "no column 'timestamp'"),
    ],
)
def test_time_stamps_that_are_none_are_named(tmp_path: Path, column: str, times: object, words: str):
    """Shuffled rows would give frames the times of others."""
    import pandas as pd

    root = foreign_videos.dataset(tmp_path / "pai", ["a"], frames=4)
    uri = root / "camera" / CAMERA / f"{CAMERA}.chunk_0000.zip"
    with zipfile.ZipFile(uri) as packed:
        video = packed.read(f"a.{CAMERA}.mp4")
    pd.DataFrame({column: times}).to_parquet(tmp_path / "stamps")
    with zipfile.ZipFile(uri, "w") as packed:
        packed.writestr(f"a.{CAMERA}.mp4", video)
        packed.writestr(f"a.{CAMERA}.timestamps.parquet", (tmp_path / "stamps").read_bytes())
    with pytest.raises(InputError, match=words):
        fetch(str(uri), tmp_path / "f", pai_root=str(root))


def test_a_streamed_clip_is_listed_at_its_commit_and_read_through_the_data_sets_own_reader(tmp_path: Path, monkeypatch):
    """From a hub cache, which is where streaming looks first; the network itself is not at hand in a test."""
    import huggingface_hub.constants

    commit = "0123456789abcdef" * 2 + "01234567"
    base = tmp_path / "hub" / "datasets--nvidia--PhysicalAI-Autonomous-Vehicles"
    foreign_videos.dataset(base / "snapshots" / commit, ["b", "a"], frames=4, offset_us=500)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    root = f"hf://nvidia/PhysicalAI-Autonomous-Vehicles@{commit}"
    listed = sources.resolve(f"{root}?limit=1")
    assert listed == [Clip("a", CAMERA, "", root)]
    found = fetch("", tmp_path / "f", pai_root=root)
    assert [now for now, _ in timed_video.timed_frames(found)] == [500, 33_833, 67_167, 100_500]
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch("", tmp_path / "f", pai_root=root, clip_id="c")
