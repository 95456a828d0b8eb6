"""draw_overlay.py on rollouts of the tiny driver: what is drawn, beside what, and what is said on the picture."""

import shutil
from pathlib import Path

import draw_overlay
import pytest

from relane.errors import InputError
from relane.io.video import probe, read_frames
from relane.report.overlay import draw_frame
from tests.alpamayo import small_pai
from tests.rollouts import write_clip


def test_every_rollout_of_a_folder_is_drawn_beside_it(rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside: dict[str, bool] = {}

    def spy(frame, camera, paths, labels, *rest):
        beside[labels.arm] = paths.original is not None
        return draw_frame(frame, camera, paths, labels, *rest)

    monkeypatch.setattr("relane.report.overlay.draw_frame", spy)
    for arm in ("original", "yellow"):
        folder = tmp_path / arm / small_pai.CLIP
        write_clip(folder, shade=60 * (arm == "yellow"))
        stem = folder / small_pai.CLIP
        rollout(folder, arm=arm, output=f"{stem}_inference.json", vis_data=f"{stem}_vis_data.npz")
    draw_overlay.main(["--folder", str(tmp_path)])
    assert beside == {"original": False, "yellow": True}
    video = tmp_path / "yellow" / small_pai.CLIP / f"{small_pai.CLIP}_overlay.mp4"
    info = probe(video)
    assert (info.width, info.height, info.frames, info.fps) == (960, 540, 56, 10.0)
    assert (tmp_path / "original" / small_pai.CLIP / f"{small_pai.CLIP}_overlay.mp4").is_file()
    last = read_frames(video)[51].astype(int)
    colored = (last.max(axis=-1) - last.min(axis=-1))[300:, 300:] > 80  # paths on grey bars
    assert colored.sum() > 50


def test_a_rollout_without_its_video_is_named_and_the_others_are_drawn(rollout, tmp_path: Path) -> None:
    for arm in ("a", "b"):
        folder = tmp_path / arm / small_pai.CLIP
        video = write_clip(folder)
        stem = folder / small_pai.CLIP
        rollout(folder, arm=arm, output=f"{stem}_inference.json", vis_data=f"{stem}_vis_data.npz")
        if arm == "a":
            video.unlink()
    with pytest.raises(InputError, match=r"1 of 2 rollouts were not drawn; the first: .*no such file"):
        draw_overlay.main(["--folder", str(tmp_path)])
    assert (tmp_path / "b" / small_pai.CLIP / f"{small_pai.CLIP}_overlay.mp4").is_file()


def test_a_video_longer_than_its_ego_motion_is_drawn_to_its_end(rollout, tmp_path: Path) -> None:
    ego = small_pai.ego_motion(10.3, 11.6)  # to just after the future at t0
    short = small_pai.write(tmp_path / "pai", ego=ego, video_seconds=5.5)
    write_clip(tmp_path, count=118)
    rollout(pai_root=short, output=tmp_path / "c_inference.json", vis_data=tmp_path / "c_vis_data.npz")
    draw_overlay.main(["--folder", str(tmp_path)])
    assert probe(tmp_path / "c_overlay.mp4").frames == 118


def test_without_calibration_the_picture_says_that_it_is_a_pinhole(
    rollout, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root, tmp_path / "pai")
    shutil.rmtree(tmp_path / "pai/calibration")
    notes: list[str] = []

    def spy(frame, camera, paths, labels, *rest):
        assert not camera.calibrated
        notes.extend(labels.notes)
        return draw_frame(frame, camera, paths, labels, *rest)

    monkeypatch.setattr("relane.report.overlay.draw_frame", spy)
    write_clip(tmp_path)
    rollout(pai_root=tmp_path / "pai", output=tmp_path / "c_inference.json", vis_data=tmp_path / "c_vis_data.npz")
    draw_overlay.main(["--folder", str(tmp_path)])
    assert set(notes) == {"no calibration: pinhole by field of view, off by tens of pixels"}
