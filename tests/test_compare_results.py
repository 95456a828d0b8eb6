"""Two result folders are equal to the digit, or a line says where not; who made them, when and where does not count."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from relane.io.video import write_video
from tests.compare_results import compare_folders, main

PICTURE = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
GREY = np.full((48, 64, 3), 128, np.uint8)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A small result folder and its copy."""
    old = tmp_path / "old"
    (old / "drive").mkdir(parents=True)
    write_json(old / "effects.json", {"mean": 0.25, "low": float("nan"), "made_by": {"code": "a"}, "seconds": 3.0})
    (old / "metadata.csv").write_text("video,coverage,seconds,edit_read_s\na,0.5,1.25,1\n")
    np.savez(old / "masks.npz", masks=np.eye(4, dtype=bool))
    cv2.imwrite(str(old / "frame.png"), PICTURE)
    write_video(old / "drive" / "overlay.mp4", [GREY] * 3, fps=10)
    (old / "report.txt").write_text("minADE 0.28 m  time 0.94 s  RAM 1.36 GiB\n  edit_load   0.05\n")
    (old / "weights.bin").write_bytes(b"\0\1")
    shutil.copytree(old, tmp_path / "new")
    return old, tmp_path / "new"


def differences(folders: tuple[Path, Path], moved: list[tuple[str, str]] = ()) -> list[str]:
    return list(compare_folders(*folders, moved))


def test_a_copy_is_equal(folders):
    assert differences(folders) == []
    assert main([str(folder) for folder in folders]) == 0


def test_who_when_and_how_long_does_not_count(folders):
    new = folders[1]
    write_json(new / "effects.json", {"seconds": 4.0, "made_by": {"code": "b"}, "low": float("nan"), "mean": 0.25})
    (new / "metadata.csv").write_text("video,coverage,seconds,edit_load_s\na,0.5,7.5,2\n")
    (new / "report.txt").write_text("minADE 0.28 m  time 12.00 s  RAM 0.50 GiB\n")
    (new / ".snakemake_timestamp").write_text("")
    assert differences(folders) == []


def test_an_absolute_path_counts_from_its_last_part(folders):
    for folder, text in zip(folders, ("/home/a/world/x.mp4", "/tmp/b/x.mp4"), strict=True):
        write_json(folder / "clip.json", {"uri": text})
    assert differences(folders) == []
    write_json(folders[1] / "clip.json", {"uri": "/tmp/b/y.mp4"})
    assert differences(folders) == ["clip.json: uri: '/home/a/world/x.mp4' became '/tmp/b/y.mp4'"]


def test_the_last_digit_of_a_number_counts(folders):
    write_json(folders[1] / "effects.json", {"mean": 0.25000000000000006, "low": float("nan")})
    (folders[1] / "metadata.csv").write_text("video,coverage,seconds\na,0.50,1.25\n")
    (folders[1] / "report.txt").write_text("minADE 0.29 m  time 0.94 s  RAM 1.36 GiB\n")
    found = differences(folders)
    assert [line.split(":")[0] for line in found] == ["effects.json", "metadata.csv", "report.txt"]
    assert "mean: 0.25 became 0.25000000000000006" in found[0]
    assert main([str(folder) for folder in folders]) == 1


def test_one_pixel_one_value_and_one_byte_count(folders):
    new = folders[1]
    picture = PICTURE.copy()
    picture[0, 0, 0] ^= 1
    cv2.imwrite(str(new / "frame.png"), picture)
    np.savez(new / "masks.npz", masks=np.zeros((4, 4), bool))
    (new / "weights.bin").write_bytes(b"\0\2")
    assert differences(folders) == [
        "frame.png: 1 of 9216 values differ",
        "masks.npz: masks: 4 of 16 values differ",
        "weights.bin: other bytes",
    ]


def test_a_film_differs_by_its_frames_not_its_bytes(folders):
    film = folders[1] / "drive" / "overlay.mp4"
    film.write_bytes(film.read_bytes() + b"\0\0\0\x08free")
    assert differences(folders) == []
    write_video(film, [GREY, GREY, PICTURE], fps=10)
    assert differences(folders)[0].startswith("drive/overlay.mp4: frame")
    write_video(film, [GREY] * 2, fps=10)
    assert differences(folders) == ["drive/overlay.mp4: the new one ends before frame 2"]


def test_files_that_came_or_went_are_named_unless_they_moved(folders):
    old, new = folders
    (new / "drive").rename(new / "rollouts")
    assert differences(folders) == [
        f"drive/overlay.mp4: missing in {new}",
        f"rollouts/overlay.mp4: not in {old}",
    ]
    assert differences(folders, [("drive", "rollouts")]) == []
