"""Which GPUs there are, what a job's device flags ask for, and whose folder the workers' sockets lie in."""

import argparse
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.errors import InputError
from relane.workers import places

TWO = """\
GPU 0: NVIDIA H200 (UUID: GPU-11111111-aaaa)
GPU 1: NVIDIA H200 (UUID: GPU-22222222-bbbb)
"""
SPLIT = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-33333333-cccc)
  MIG 3g.20gb     Device  1: (UUID: MIG-44444444-dddd)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-22222222-bbbb)
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`machine(listing, visible)` is what `places.gpus` finds where nvidia-smi prints that listing."""
    monkeypatch.delenv("RELANE_GPUS", raising=False)

    def found(listing: str, visible: str | None) -> list[str]:
        folder = tmp_path / f"bin{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        program = folder / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\n" if listing else "#!/bin/sh\nexit 9\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return [place.visible for place in places.gpus(folder)]

    return found


def test_every_gpu_of_the_machine_is_found(machine):
    assert machine(TWO, None) == ["GPU-11111111-aaaa", "GPU-22222222-bbbb"]


def test_indices_and_uuids_name_the_same_gpu_so_that_two_runs_agree_on_its_lock(machine):
    assert machine(TWO, "1") == machine(TWO, "GPU-22222222-bbbb") == machine(TWO, "GPU-2") == ["GPU-22222222-bbbb"]


def test_the_parts_of_a_split_gpu_stand_for_it(machine):
    assert machine(SPLIT, None) == ["MIG-33333333-cccc", "MIG-44444444-dddd", "GPU-22222222-bbbb"]


@pytest.mark.parametrize(("visible", "expected"), [("", []), ("-1", []), ("0,-1,1", ["GPU-11111111-aaaa"])])
def test_hidden_gpus_stay_hidden(machine, visible, expected):
    assert machine(TWO, visible) == expected


def test_without_nvidia_smi_the_environment_is_believed(machine):
    assert machine("", None) == []
    assert machine("", "0,1") == ["0", "1"]


def test_the_listing_is_asked_for_once(machine, tmp_path, monkeypatch):
    machine(TWO, None)
    [folder] = tmp_path.iterdir()
    (folder / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert len(places.gpus(folder)) == 2


@given(st.integers(1, 16))
def test_any_number_of_gpus_is_listed(count):
    text = "".join(f"GPU {number}: NVIDIA L4 (UUID: GPU-{number:08x})\n" for number in range(count))
    assert places.parse_listing(text) == [[f"GPU-{number:08x}"] for number in range(count)]


def choices(monkeypatch, tmp_path, gpus: str, **flags: str) -> list[str]:
    monkeypatch.setenv("RELANE_GPUS", gpus)
    found = places.candidates(argparse.Namespace(**flags), tmp_path, cpu_slots=2, run=7)
    return ["+".join(place.name for place in one) for one in found]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"device": "auto"}, ["a", "b"]),
        ({"device": "cuda", "critic_device": "auto"}, ["a", "b"]),
        ({"device": "cpu"}, ["cpu0-7", "cpu1-7"]),
        ({"device": "cpu", "critic_device": "auto"}, ["cpu0-7", "cpu1-7"]),  # auto follows --device
        ({"device": "cpu", "critic_device": "cuda"}, ["a", "b"]),
        ({"device": "auto", "critic_device": "cuda:1"}, ["a+b"]),  # its numbers count all GPUs
        ({"device": "auto", "critic_device": "all"}, ["a+b"]),
    ],
)
def test_the_device_flags_decide_where_a_job_may_run(monkeypatch, tmp_path, flags, expected):
    assert choices(monkeypatch, tmp_path, "a,b", **flags) == expected


def test_without_a_gpu_jobs_take_cpu_slots(monkeypatch, tmp_path):
    assert choices(monkeypatch, tmp_path, "", device="auto") == ["cpu0-7", "cpu1-7"]


def test_the_folder_is_made_for_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("RELANE_WORKERS", str(tmp_path / "w"))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr(places, "SOCKET_PATH_BYTES", 1000)  # pytest's folders are deep
    assert places.folder() == tmp_path / "w" / "77"
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("named", ["missing/deep/w", "file"])
def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path, monkeypatch, named):
    (tmp_path / "file").touch()
    monkeypatch.setenv("RELANE_WORKERS", str(tmp_path / named))
    with pytest.raises(InputError, match="set RELANE_WORKERS"):
        places.folder()


def test_a_relative_folder_is_the_same_wherever_a_worker_lives(tmp_path, monkeypatch):
    monkeypatch.setenv("RELANE_WORKERS", "w")
    monkeypatch.setattr(places, "SOCKET_PATH_BYTES", 1000)
    monkeypatch.chdir(tmp_path)
    assert places.folder() == tmp_path / "w" / "local"


def test_a_folder_too_deep_for_sockets_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("RELANE_WORKERS", str(tmp_path / ("w" * 100)))
    with pytest.raises(InputError, match="set RELANE_WORKERS to a shorter one"):
        places.folder()


def test_a_folder_that_others_may_enter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RELANE_WORKERS", str(tmp_path / "w"))
    (tmp_path / "w").mkdir(mode=0o755)
    with pytest.raises(InputError, match=r"others may enter it \(mode 0755, should be 0700\)"):
        places.folder()


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RELANE_WORKERS", str(tmp_path / "w"))
    (tmp_path / "w").mkdir(mode=0o700)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(InputError, match=f"it belongs to user {owner}"):
        places.folder()


def test_a_link_in_its_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RELANE_WORKERS", str(tmp_path / "w"))
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "w").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="it is no folder"):
        places.folder()
