"""Where a model job can run: one GPU, all of them, or a CPU slot; and the folder in which processes find each other."""

import argparse
import json
import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from relane.errors import InputError
from relane.io.files import write_json

# The longest path that a unix socket may have (sockaddr_un holds 108 bytes with the closing zero).
SOCKET_PATH_BYTES = 107


@dataclass(frozen=True)
class Place:
    """A GPU or a CPU slot. name: of its files, unique on this machine; visible: its CUDA_VISIBLE_DEVICES."""

    name: str
    visible: str

    @property
    def is_gpu(self) -> bool:
        """Whether jobs here see a GPU."""
        return bool(self.visible)


def folder() -> Path:
    """The folder of locks, records, sockets and worker logs: this user's alone, and the same for all of their runs.

    RELANE_WORKERS names another. A scheduler's job has its own, because GPUs are counted anew in each. Raises
    InputError when the folder belongs to somebody else or others may enter it: they could answer in a worker's place.
    """
    named = os.environ.get("RELANE_WORKERS")
    # Not TMPDIR, which may differ between two runs that have to share the GPUs.
    # Absolute, because workers live in another folder than their jobs.
    base = Path(named).absolute() if named else Path(f"/tmp/relane-{os.geteuid()}")
    _private(base)
    path = base / re.sub(r"\W", "_", os.environ.get("SLURM_JOB_ID", "") or "local")
    _private(path)
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES - 50:
        raise InputError(f"{path}: too long a path for sockets; set RELANE_WORKERS to a shorter one")
    return path


def _private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=False, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise InputError(f"{path}: no folder for worker sockets ({error.strerror}); set RELANE_WORKERS") from None
    wrong = []
    if not stat.S_ISDIR(found.st_mode):
        wrong.append("it is no folder")
    if found.st_uid != os.geteuid():
        wrong.append(f"it belongs to user {found.st_uid}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        wrong.append(f"others may enter it (mode {stat.S_IMODE(found.st_mode):04o}, should be 0700)")
    if wrong:
        raise InputError(f"{path}: {' and '.join(wrong)}; remove it, or set RELANE_WORKERS to a folder of your own")


def gpus(private: Path) -> list[Place]:
    """This process's GPUs: those of RELANE_GPUS, else of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists.

    RELANE_GPUS is a comma-separated list of values for CUDA_VISIBLE_DEVICES, each taken as it stands. Indices are
    turned into the GPUs' UUIDs, so that two runs with other numberings still agree on what is locked; they count as in
    nvidia-smi, which is CUDA's own order wherever a machine's GPUs are alike.
    """
    if "RELANE_GPUS" in os.environ:
        return _named(os.environ["RELANE_GPUS"].split(","))
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is not None and not wanted.strip():
        return []
    listed = _listed(private)
    if wanted is None:
        return _named([name for group in listed for name in group])
    entries = [entry.strip() for entry in wanted.split(",")]
    if "-1" in entries:  # CUDA reads the list up to its first wrong entry
        entries = entries[: entries.index("-1")]
    if not listed:
        return _named(entries)
    names, known = [], [name for group in listed for name in group]
    for entry in entries:
        if entry.isdecimal() and int(entry) < len(listed):
            names += listed[int(entry)]
        else:  # a UUID may be cut short
            names += [name for name in known if name.startswith(entry)][:1] or [entry]
    return _named(names)


def _named(names: list[str]) -> list[Place]:
    names = [name.strip() for name in names if name.strip()]
    return [Place(re.sub(r"[^\w-]", "_", name), name) for name in dict.fromkeys(names)]


def _listed(private: Path) -> list[list[str]]:
    """The UUIDs by GPU index; several where a GPU is split (MIG). Asked once a boot: the command can take a second."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    now = boot.read_text().strip() if boot.exists() else ""
    cache = private / "gpus.json"
    try:
        known = json.loads(cache.read_text())
        if known["boot"] == now and known["gpus"]:
            return known["gpus"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        text = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        text = ""
    found = parse_listing(text)
    write_json(cache, {"boot": now, "gpus": found})
    return found


def parse_listing(text: str) -> list[list[str]]:
    """What `nvidia-smi -L` prints, as UUIDs by GPU index; the parts of a split GPU stand for it."""
    found: list[list[str]] = []
    whole = True
    for line in text.splitlines():
        match = re.search(r"UUID: ((?:GPU|MIG)-[\w/-]+)\)", line)
        if not match:
            continue
        if match[1].startswith("GPU"):
            found.append([match[1]])
            whole = True
        elif found:
            found[-1] = [match[1]] if whole else [*found[-1], match[1]]
            whole = False
    return found


def candidates(args: argparse.Namespace, private: Path, cpu_slots: int, run: int = 0) -> list[tuple[Place, ...]]:
    """The places that serve a job, one of which it needs: decided by its flags `--device` and `--*-device`.

    `auto` and `cuda` take any one GPU, or a CPU slot where there is none; `cpu` a CPU slot. A job that names devices by
    number, or `all`, gets all GPUs at once, so that its numbers mean what they mean without a worker. CPU slots are
    those of the run (a process id): they bound how many workers it has, and two runs need not wait for each other.
    """
    given = {name: str(value) for name, value in vars(args).items() if name == "device" or name.endswith("_device")}
    first = given.pop("device", "auto")
    wishes = {first, *(value for value in given.values() if value != "auto")}
    cards = [] if wishes == {"cpu"} else gpus(private)
    if not cards:
        return [(Place(f"cpu{number}-{run}", ""),) for number in range(cpu_slots)]
    if any(wish == "all" or wish.startswith("cuda:") for wish in wishes):
        return [tuple(cards)]
    return [(card,) for card in cards]
