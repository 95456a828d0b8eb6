"""Drawn pictures: what is where, in which colour, and when."""

from pathlib import Path

import cv2
import draw_overlay
import numpy as np
import pytest

from relane.data.camera import FTheta, RigCamera, yaw_mount
from relane.errors import InputError
from relane.report.overlay import (
    GREY,
    INSET,
    RED,
    SAMPLE_COLORS,
    WHITE,
    Labels,
    Paths,
    draw_frame,
    draw_notes,
    output_size,
    revealed,
)

WIDTH, HEIGHT = 960, 540
CAMERA = RigCamera(
    FTheta(WIDTH, HEIGHT, 479.5, 269.5, forward=(0.0, 470.0, 0.0, -14.0, 0.0)), yaw_mount(0), np.array([1.75, 0, 1.45])
)
HISTORY = np.stack([np.arange(-15, 1) * 1.0, np.zeros(16), np.zeros(16)], axis=1)
HERE = np.zeros(3), np.eye(3)
BLACK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def line(y: float) -> np.ndarray:
    """64 waypoints 1 m apart, straight ahead, y metres to the left."""
    return np.stack([np.arange(1, 65) * 1.0, np.full(64, y), np.zeros(64)], axis=1)


def drawn(paths: Paths, frame: np.ndarray = BLACK, pose=HERE, shown: int = 64, notes: list[str] | None = None):
    return draw_frame(frame, CAMERA, paths, Labels("yellow", "clip", "front", 1.5, notes or []), pose, shown)


def road(picture: np.ndarray) -> np.ndarray:
    """The part of the picture without inset, legend and head-up line."""
    out = picture.copy()
    out[:110] = 0
    out[-INSET:, :INSET] = 0
    return out


def near(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Pixels (N, 2), u and v, within 40 of a colour in every channel."""
    v, u = np.nonzero((np.abs(picture.astype(int) - color) < 40).all(axis=-1))
    return np.stack([u, v], axis=1)


@pytest.mark.parametrize("color_of", ["truth", "prediction", "original"])
def test_a_path_is_drawn_where_the_camera_sees_it(color_of: str) -> None:
    places = {"truth": line(0.0), "prediction": line(1.5), "original": line(-1.5)}
    paths = Paths(places["truth"], places["prediction"][None], HISTORY, places["original"][None])
    color = {"truth": RED, "prediction": SAMPLE_COLORS[0], "original": WHITE}[color_of]
    picture = road(drawn(paths))
    for x in (7, 10, 15):
        pixel, _ = CAMERA.project(places[color_of][x - 1])
        assert np.linalg.norm(near(picture, color) - pixel, axis=1).min() < 2


def test_predictions_take_turns_with_five_colours() -> None:
    paths = Paths(line(0), np.stack([line(y) for y in (1, 1.5, 2, -1, -1.5, -2)]), HISTORY)
    picture = road(drawn(paths))
    for number, y in enumerate((1, 1.5, 2, -1, -1.5, -2)):
        pixel, _ = CAMERA.project(line(y)[8])
        assert np.linalg.norm(near(picture, SAMPLE_COLORS[number % 5]) - pixel, axis=1).min() < 2


def test_what_lies_behind_the_camera_is_not_drawn() -> None:
    backwards = line(0) * [-1, 1, 1]
    assert not road(drawn(Paths(backwards, backwards[None], HISTORY))).any()


@pytest.mark.parametrize(("of", "radius"), [("truth", 5), ("prediction", 4)])
def test_every_waypoint_is_a_circle_on_the_road(of: str, radius: int) -> None:
    places = {"truth": line(0.0), "prediction": line(2.0)}
    picture = road(drawn(Paths(places["truth"], places["prediction"][None], HISTORY)))
    found = near(picture, RED if of == "truth" else SAMPLE_COLORS[0])
    for x in (9, 10):  # far enough from their neighbours to stand alone
        (u, v), _ = CAMERA.project(places[of][x - 1])
        distance = np.linalg.norm(found - (u, v), axis=1)
        disc = np.count_nonzero(distance <= radius + 0.5)
        assert disc == pytest.approx(np.pi * radius**2, rel=0.2)
        aside = found[(distance > radius + 1.5) & (np.abs(found[:, 1] - v) < 2)]
        assert not len(aside)


def test_where_the_car_has_been_is_drawn_while_the_camera_still_sees_it() -> None:
    before = np.array([-15.0, 0.0, 0.0]), np.eye(3)  # a second and a half before t0
    nothing = np.full((1, 3), -1.0)  # behind every camera
    history = HISTORY + np.array([0, 2.0, 0])
    picture = road(drawn(Paths(nothing, nothing[None], history), pose=before))
    for place in history[8:13]:
        pixel, _ = CAMERA.project(place - before[0])
        assert np.linalg.norm(near(picture, GREY) - pixel, axis=1).min() < 2
    assert not len(near(road(drawn(Paths(nothing, nothing[None], history))), GREY))  # at t0 it lies behind


def test_the_path_stays_on_the_road_while_the_car_drives() -> None:
    paths = Paths(line(0), line(3.0)[None], HISTORY)
    back = np.array([-5.0, 0.5, 0.0]), np.eye(3)  # five metres before t0, half a metre to the left
    picture = road(drawn(paths, pose=back))
    pixel, _ = CAMERA.project(line(3.0)[5] - back[0])
    assert np.linalg.norm(near(picture, SAMPLE_COLORS[0]) - pixel, axis=1).min() < 2


def test_a_path_reveals_itself_until_t0_and_stays() -> None:
    assert list(revealed(6, 3, 64)) == [16, 32, 48, 64, 64, 64]
    assert list(revealed(2, 63, 64)) == [1, 2]
    paths = Paths(line(0), line(3.0)[None], HISTORY)
    few, all_of_it = (len(near(road(drawn(paths, shown=shown)), SAMPLE_COLORS[0])) for shown in (12, 64))
    assert 0 < few < all_of_it


def test_the_inset_keeps_its_place_and_shows_both_arms_apart() -> None:
    panel = drawn(Paths(line(0), line(1.0)[None], HISTORY, line(-1.0)[None]))[-INSET:, :INSET]
    left, right = near(panel[:, : INSET // 2], SAMPLE_COLORS[0]), near(panel[60:150, INSET // 2 :], WHITE)
    assert len(left) > 20
    assert len(right) > 20
    assert near(panel, RED)[:, 0].mean() == pytest.approx(INSET / 2, abs=3)


def test_a_small_video_is_scaled_up_so_that_text_can_be_read() -> None:
    assert output_size(320, 180) == (960, 540)
    assert output_size(1920, 1080) == (1920, 1080)
    assert all(side % 2 == 0 for side in output_size(854, 481))
    small = np.zeros((180, 320, 3), np.uint8)
    camera = CAMERA.resized(320, 180)
    labels = Labels("a", "c", "f", None)
    picture = draw_frame(small, camera, Paths(line(0), line(3.0)[None], HISTORY), labels, HERE, 64)
    pixel, _ = CAMERA.project(line(3.0)[9])
    assert picture.shape == (540, 960, 3)
    assert np.linalg.norm(near(road(picture), SAMPLE_COLORS[0]) - pixel, axis=1).min() < 2


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, int], float]]:
    """What is written from now on: text, place, scale."""
    written: list[tuple[str, tuple[int, int], float]] = []
    put = cv2.putText

    def spy(image, text, at, font, scale, *rest):
        written.append((text, at, scale))
        return put(image, text, at, font, scale, *rest)

    monkeypatch.setattr(cv2, "putText", spy)
    return written


def right_end(written: tuple[str, tuple[int, int], float]) -> int:
    """The column where a text ends."""
    text, (left, _), scale = written
    return left + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]


def test_the_head_up_line_says_how_far_the_edit_moved_the_path(texts) -> None:
    drawn(Paths(line(0), line(1.0)[None], HISTORY, line(-0.5)[None]), notes=["no calibration: pinhole"])
    written = [text for text, _, _ in texts]
    head = next(text for text in written if "minADE" in text)
    parts = [part.strip() for part in head.split("|")]
    assert parts == ["yellow", "minADE 1.50 m", "displacement 1.50 m", "clip", "front"]
    assert "no calibration: pinhole" in written


def test_a_long_head_up_line_takes_two_rows_and_is_not_shrunk(texts) -> None:
    labels = Labels("double-yellow-solid-left-and-single-white-dashed-right", "0" * 36, "c" * 26, 1.5)
    draw_frame(BLACK, CAMERA, Paths(line(0), line(1.0)[None], HISTORY), labels, HERE, 64)
    head = [found for found in texts if "|" in found[0]]
    assert len(head) == 2
    assert head[0][1][1] < head[1][1][1]
    assert min(scale for _, _, scale in head) == pytest.approx(0.55)


def test_no_text_is_cut_off_at_the_right_or_covers_the_legend(texts) -> None:
    words = "not driven: " + "results/002/vp/yellow/" + "x" * 200 + ".mp4: its last frame does not reach t0_us 5100000"
    for width in (320, 960, 1920):
        texts.clear()
        frame = np.zeros((width * 9 // 16, width, 3), np.uint8)
        drawn(Paths(line(0), line(1.0)[None], HISTORY, line(-1.0)[None]), frame=frame, notes=[words])
        wide, _ = output_size(width, width * 9 // 16)
        assert max(map(right_end, texts)) <= wide
        legend = min(at[0] for text, at, _ in texts if text in ("recorded", "original arm"))
        notes = [found for found in texts if "x" * 20 in found[0] or "t0_us" in found[0]]
        assert notes
        assert max(map(right_end, notes)) < legend


def test_text_grows_with_the_picture_and_lines_keep_their_width(texts) -> None:
    scale = {}
    for width in (960, 1920):
        texts.clear()
        drawn(Paths(line(0), line(1.0)[None], HISTORY), frame=np.zeros((width * 9 // 16, width, 3), np.uint8))
        scale[width] = next(scale for text, _, scale in texts if text == "recorded")
    assert scale[1920] == pytest.approx(2 * scale[960])


def test_an_arm_that_was_not_driven_shows_its_video_and_the_reason(texts) -> None:
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    picture = draw_notes(frame, Labels("yellow", "clip", "front", None, ["not driven: no ego motion"]))
    assert "not driven: no ego motion" in [text for text, _, _ in texts]
    assert (picture[200:] == 90).all()


def test_the_frame_itself_is_not_drawn_on() -> None:
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    drawn(Paths(line(0), line(1.0)[None], HISTORY), frame=frame)
    assert (frame == 90).all()


def test_a_folder_without_rollouts_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*_vis_data.npz"):
        draw_overlay.main(["--folder", str(tmp_path)])
