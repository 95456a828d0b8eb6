"""Drawn pictures: what is where, in which colour, and when."""

import cv2
import numpy as np
import pytest

from relane.camera import FTheta, RigCamera, yaw_mount
from relane.overlay import INSET, RED, SAMPLE_COLORS, WHITE, Labels, Paths, draw_frame, output_size, revealed

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


def test_the_head_up_line_says_how_far_the_edit_moved_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    put = cv2.putText
    monkeypatch.setattr(cv2, "putText", lambda image, text, *rest: texts.append(text) or put(image, text, *rest))
    drawn(Paths(line(0), line(1.0)[None], HISTORY, line(-0.5)[None]), notes=["no calibration: pinhole"])
    head = next(text for text in texts if "minADE" in text)
    assert [part.strip() for part in head.split("|")] == [
        "yellow",
        "minADE 1.50 m",
        "displacement 1.50 m",
        "clip",
        "front",
    ]
    assert "no calibration: pinhole" in texts


def test_the_frame_itself_is_not_drawn_on() -> None:
    frame = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    drawn(Paths(line(0), line(1.0)[None], HISTORY), frame=frame)
    assert (frame == 90).all()
