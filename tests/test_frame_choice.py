"""Which frames the driver is shown: those of the data set's own loader, none from after t0, none for two slots."""

from pathlib import Path

import numpy as np
import prepare_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.data import clips
from relane.data.frames import pick
from relane.data.physical_ai_av.clip import Clip
from relane.data.physical_ai_av.roots import open_dataset
from relane.drivers.alpamayo import READ, sight
from relane.drivers.scene import FrameRules, assemble, open_edited
from relane.errors import UndrivableError
from relane.io.files import read_json, write_json
from relane.io.video import write_video
from relane.prompts.lanes import Attributes
from simworld.world.dataset import ClipPlan, write_dataset
from tests.alpamayo import small_pai
from tests.alpamayo.small_pai import CLIP, FRONT

T0 = 5_100_000
SLOTS = [T0 - 300_000, T0 - 200_000, T0 - 100_000, T0]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pai.write(tmp_path_factory.mktemp("pai") / "dataset", video_seconds=5.5)


@pytest.fixture(scope="module")
def clip(root: Path) -> Clip:
    return Clip(open_dataset(root), CLIP)


def loaded(clip: Clip, camera: str, wanted: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Frames and their times as physical_ai_av's own reader gives them."""
    reader = clip.dataset.get_clip_feature(clip.clip_id, camera)
    images, times = reader.decode_images_from_timestamps(np.array(wanted))
    reader.close()
    return images, times


@pytest.mark.parametrize("t0", [T0, 5_116_667, 5_099_999, 3_333_333])
@pytest.mark.parametrize("camera", READ[7])
def test_frames_are_those_of_the_data_sets_own_loader(clip: Clip, camera: str, t0: int) -> None:
    wanted = [t0 + slot - T0 for slot in SLOTS]
    images, times = loaded(clip, camera, wanted)
    ours = clip.frames(camera, wanted)
    assert ours.t_us == times.tolist()
    np.testing.assert_array_equal(np.stack(ours.images), images)
    assert max(ours.error_us) <= 0


@pytest.mark.parametrize("fps", [10, 30])
def test_the_synthetic_world_is_read_as_the_loader_reads_it_and_close_to_its_instants(tmp_path: Path, fps: int) -> None:
    plan = ClipPlan("a", 3, Attributes("single", "white", "solid"), False)
    write_dataset(tmp_path / "world", [plan], READ[4], width=64, height=36, fps=fps, seconds=1.5)
    clip = Clip(open_dataset(tmp_path / "world"), "a")
    for camera in READ[4]:
        images, times = loaded(clip, camera, [700_000, 800_000, 900_000, 1_000_000])
        ours = clip.frames(camera, [700_000, 800_000, 900_000, 1_000_000])
        assert ours.t_us == times.tolist()
        np.testing.assert_array_equal(np.stack(ours.images), images)
        # Its cameras fire a little before the model's instants, at any rate: else a frame would be a period old.
        assert min(ours.error_us) >= -10_000


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=30, unique=True), st.lists(st.integers(0, 10_000), min_size=1)
)
def test_the_frame_before_is_the_last_that_is_not_later(times: list[int], wanted: list[int]) -> None:
    times = sorted(times)
    for time, index in zip(wanted, pick(np.array(times), wanted), strict=True):
        assert times[index] == max([t for t in times if t <= time], default=times[0])


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=30, unique=True),
    st.lists(st.integers(0, 12_000), min_size=1, max_size=30),
    st.integers(0, 500),
)
def test_a_clip_is_made_of_the_same_frames_in_one_pass(times: list[int], wanted: list[int], slack: int) -> None:
    times, wanted = sorted(times), sorted(wanted)
    picked = clips.pick_before(((time, time) for time in times), wanted, slack)
    served = [time for time in wanted if times[0] <= time <= times[-1] + slack]
    assert [(one.wanted_us, one.t_us) for one in picked] == [
        (time, times[index]) for time, index in zip(served, pick(np.array(times), served), strict=True)
    ]


def edited(folder: Path, times: list[int]) -> Path:
    """An edited video of numbered frames at these times; returns its path, the sidecar lies beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{CLIP}.{FRONT}_vp_edit_sample0.mp4"
    fps = 1e6 * (len(times) - 1) / (times[-1] - times[0])
    write_video(path, [small_pai.bits(number) for number in range(len(times))], fps)
    write_json(folder / f"{CLIP}.{FRONT}.json", {"clip_id": CLIP, "camera": FRONT, "t_us": times})
    return path


def scene(clip: Clip, path: Path, **rules):
    video = open_edited(path, path.parent / f"{CLIP}.{FRONT}.json")
    return assemble(clip, [video], sight({"cameras": 4}), T0, FrameRules(**rules))


def test_a_prepared_clip_shows_the_driver_the_frames_of_the_loader(clip: Clip, root: Path, tmp_path: Path) -> None:
    """The edited camera goes through prepare_clip, which must take the same frames as the other cameras do."""
    prepare_clip.main(
        [
            f"--uri={root / f'camera/{FRONT}/{FRONT}.chunk_0000.zip'}",
            f"--pai-root={root}",
            f"--clip-id={CLIP}",
            f"--camera={FRONT}",
            "--min-frames=1",
            f"--output={tmp_path / f'{CLIP}.{FRONT}.mp4'}",
            f"--sidecar={tmp_path / f'{CLIP}.{FRONT}.json'}",
        ]
    )
    record = read_json(tmp_path / f"{CLIP}.{FRONT}.json")
    assert all(time <= wanted for time, wanted in zip(record["t_us"], record["wanted_us"], strict=True))
    found = scene(clip, tmp_path / f"{CLIP}.{FRONT}.mp4").frames[FRONT]
    images, times = loaded(clip, FRONT, SLOTS)
    assert found.t_us == times.tolist()
    assert [small_pai.number_of(image) for image in found.images] == [small_pai.number_of(image) for image in images]


EIGHT = list(range(0, 5_600_000, 125_000))


@pytest.mark.parametrize(
    ("times", "choice", "words"),
    [
        # t0 on the grid of 8 frames a second: -375, -250, -125, 0 ms; off it, and by the nearest, one frame twice.
        ([time + 100_000 for time in EIGHT], "before", "8 frames a second.*the frames of -375, -250, -125, 0 ms"),
        (EIGHT, "before", "its frame of 5000000 us serves two slots, -0.1 and 0.0 s"),
        ([time + 100_000 for time in EIGHT], "nearest", "its frame of 4850000 us serves two slots, -0.3 and -0.2 s"),
        # Ten frames a second made of a source that has eight.
        ([time // 125_000 * 125_000 for time in range(0, 5_600_000, 100_000)], "before", "serves two slots"),
    ],
)
def test_frames_that_serve_two_slots_or_keep_another_clock_are_refused(clip, tmp_path, times, choice, words) -> None:
    path = edited(tmp_path, times)
    with pytest.raises(UndrivableError, match=words) as caught:
        scene(clip, path, choice=choice)
    assert str(path) in str(caught.value)
    assert "drive.allow_repeated_frames" in str(caught.value)
    allowed = scene(clip, path, choice=choice, allow_repeated=True)
    assert len(allowed.frame_notes) == 1
    assert allowed.frame_notes[0].startswith(f"{FRONT}: it")


def test_the_original_studys_frames_can_be_asked_for(clip: Clip, tmp_path: Path) -> None:
    path = edited(tmp_path, [time + 100_000 for time in EIGHT])
    frames = scene(clip, path, allow_repeated=True).frames[FRONT]
    assert [time - T0 for time in frames.t_us] == [-375_000, -250_000, -125_000, 0]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (list(range(4_850_000, 5_600_000, 100_000)), "no frame at or before 4800000 us, the first is 50.0 ms later"),
        (list(range(0, 4_600_000, 100_000)) + list(range(5_000_000, 5_600_000, 100_000)), "300.0 ms old"),
        (list(range(0, 5_100_000, 100_000)), "its last frame is at 5000000 us and does not reach t0_us 5100000"),
    ],
)
def test_a_frame_that_is_not_there_is_refused(clip, tmp_path, times, words) -> None:
    with pytest.raises(UndrivableError, match=words):
        scene(clip, edited(tmp_path, times))


def test_frames_that_are_almost_a_slot_old_are_told(clip: Clip, tmp_path: Path) -> None:
    (note,) = scene(clip, edited(tmp_path / "late", list(range(1_500, 5_600_000, 100_000)))).frame_notes
    assert note == f"{FRONT}: its frames are up to 98.5 ms older than the instants they stand for"
    assert scene(clip, edited(tmp_path / "on", list(range(0, 5_600_000, 100_000)))).frame_notes == ()


def test_no_frame_from_after_t0_is_shown(clip: Clip, tmp_path: Path) -> None:
    for late in (1, 1_500, 9_000, 33_333):
        path = edited(tmp_path / str(late), list(range(late, 5_600_000, 50_000)))
        for frames in scene(clip, path).frames.values():
            assert max(frames.error_us) <= 0
