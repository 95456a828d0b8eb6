"""What a run was made of: code, configuration, packages, checkpoints, machine."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relane.addresses import redact
from relane.digest import weights_digest

REPOSITORY = Path(__file__).parents[2]
UNKNOWN = "unknown"


def provenance(config: Mapping[str, Any], repository: Path = REPOSITORY) -> dict[str, Any]:
    """The record of a run with this resolved configuration, as JSON-ready values.

    It names no path but those of the configuration, holds nothing of the environment, and no time: the same run on the
    same machine gives the same record.
    """
    return {
        "code": git_state(repository),
        "config": without_logins(config),
        "checkpoints": {name: checkpoint(folder) for name, folder in config.get("checkpoints", {}).items() if folder},
        "packages": packages(repository / "envs" / "direct.txt"),
        "hardware": hardware(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def git_state(repository: Path) -> dict[str, Any]:
    """`commit` and whether the tree was `clean` (ignored files do not count); "unknown" outside a checkout."""
    unknown = {"commit": UNKNOWN, "clean": UNKNOWN}
    top = _git(repository, "rev-parse", "--show-toplevel")
    # A copy of the code inside some other project's checkout has that project's commit, which says nothing here.
    if not top or Path(top).resolve() != repository.resolve():
        return unknown
    commit, status = _git(repository, "rev-parse", "--verify", "HEAD"), _git(repository, "status", "--porcelain")
    if not commit or status is None:
        return unknown
    return {"commit": commit, "clean": status == ""}


def _git(repository: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(repository), *args], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def without_logins(value: Any) -> Any:
    """A copy of a configuration in which user information and query of every address are `***`."""
    if isinstance(value, Mapping):
        return {key: without_logins(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_logins(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def checkpoint(folder: str) -> dict[str, Any]:
    """A checkpoint folder: its digest ("absent" where there is none), and the revision that `.revision` records."""
    revision = Path(folder) / ".revision"
    return {
        "folder": folder,
        "digest": weights_digest(folder),
        "revision": revision.read_text(encoding="utf-8").strip() if revision.is_file() else None,
    }


def packages(direct: Path) -> dict[str, str]:
    """Installed versions of the packages that `envs/direct.txt` names ("absent" where one is not installed)."""
    lines = direct.read_text(encoding="utf-8").splitlines() if direct.is_file() else []
    names = [match[0] for line in lines if (match := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line))]
    versions = {}
    for name in sorted(names, key=str.lower):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def hardware() -> dict[str, Any]:
    """CPU model and cores, memory in bytes, and the GPUs that torch sees (none where torch is not installed)."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def _gpus() -> list[dict[str, Any]]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": device.name, "memory_bytes": device.total_memory} for device in devices]
