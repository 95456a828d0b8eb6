"""What a run was made of: code, configuration, packages, checkpoints, machine; and what made each of its files."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from relane import layout
from relane.addresses import redact
from relane.io.files import read_json, write_json
from relane.io.weights_digest import weights_digest
from relane.workflow.code_digest import code_digest

REPOSITORY = Path(__file__).parents[3]
UNKNOWN = "unknown"
# Packages that take part in a result; the whole list stands in the run's record.
MATTER = ("numpy", "scipy", "pandas", "opencv-python-headless", "av", "torch", "diffusers", "transformers", "peft")
MATTER += ("sam2", "lpips", "physical-ai-av")


def provenance(
    config: Mapping[str, Any], made_by: list[dict[str, Any]] | None = None, repository: Path = REPOSITORY
) -> dict[str, Any]:
    """The record of a run with this resolved configuration, as JSON-ready values.

    `code` is what wrote the record itself; `made_by` (of `gathered`) what made the run's files, which may be older. It
    names no path but those of the configuration, holds nothing of the environment, and no time: the same run on the
    same machine gives the same record.
    """
    return {
        "code": git_state(repository),
        "made_by": made_by or [],
        "config": without_logins(config),
        "checkpoints": {name: checkpoint(folder) for name, folder in config.get("checkpoints", {}).items() if folder},
        "packages": packages(repository / "envs" / "direct.txt"),
        "hardware": hardware(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def note_made_by(
    records: Iterable[Path], script: Path, weights: Mapping[str, str] | None = None, modules: Iterable[str] = ()
) -> None:
    """Add `made_by` (code, commit, versions, weights) to JSON records that a script wrote, or write it where none is.

    `weights` are the digests of the checkpoints that the script read, by their names in the configuration; `modules`
    those that it imported by name (see `code_files`).
    """
    made_by = {
        "script": script.name,
        "code": code_digest(script, *modules),
        **git_state(REPOSITORY),
        "weights": dict(weights or {}),
        "python": platform.python_version(),
        "packages": {name: found for name in MATTER if (found := _version(name)) != "absent"},
    }
    for path in records:
        write_json(path, (read_json(path) if path.exists() else {}) | {"made_by": made_by})


def records_of(run_folder: Path, videos: Iterable[str], arms: Iterable[str]) -> Iterator[Path]:
    """The JSON records of a run's stages, for these videos and arms: what an earlier run left of others is left out."""
    videos, arms = list(videos), list(arms)
    clips = dict.fromkeys(video.rpartition(".")[0] for video in videos)
    for video in videos:
        for pattern in (layout.CLIP_JSON, layout.MASKS_JSON, layout.REGION_JSON):
            yield layout.below(run_folder, pattern, video=video)
        for arm in arms:
            folder = layout.below(run_folder, layout.EDITED_JSON, instruction=arm, video=video).parent
            yield from sorted(folder.glob("*.json"))
    for arm in arms:
        for clip in clips:
            folder = layout.below(run_folder, layout.ROLLOUT, arm=arm, clip=clip).parent
            yield from sorted(run_folder.glob(f"{folder.relative_to(run_folder)}/*.json"))
    yield layout.below(run_folder, layout.EFFECTS)


def gathered(records: Iterable[Path]) -> list[dict[str, Any]]:
    """What made these records, the like together: `made_by` of each, and as `files` how many it made.

    A record that does not say (an older release's) counts under the script "unknown"; one that is missing is left out.
    """
    groups: dict[str, dict[str, Any]] = {}
    for path in records:
        if not path.is_file():
            continue
        found = read_json(path)
        made_by = found.get("made_by") if isinstance(found, dict) else None
        made_by = made_by if isinstance(made_by, dict) else {"script": UNKNOWN, "commit": UNKNOWN, "clean": UNKNOWN}
        group = groups.setdefault(json.dumps(made_by, sort_keys=True), {**made_by, "files": 0})
        group["files"] += 1
    return [groups[key] for key in sorted(groups, key=lambda key: (str(groups[key].get("script")), key))]


def git_state(repository: Path) -> dict[str, Any]:
    """`commit` and whether the tree was `clean` (ignored files do not count); "unknown" outside a checkout.

    Where git cannot answer for a checkout, `why` holds its words, and they go to stderr.
    """
    unknown = {"commit": UNKNOWN, "clean": UNKNOWN}
    if not (repository / ".git").exists():
        # A copy of the code inside some other project's checkout has that project's commit, which says nothing here.
        return unknown
    try:
        commit = _git(repository, "rev-parse", "--verify", "HEAD")
        return {"commit": commit, "clean": _git(repository, "status", "--porcelain") == ""}
    except (OSError, subprocess.SubprocessError) as error:
        words = str(getattr(error, "stderr", "") or error).strip() or type(error).__name__
        why = words.splitlines()[0].replace(str(repository), "the checkout")
        print(f"the commit is unknown: {why}", file=sys.stderr)
        return {**unknown, "why": why}


def _git(repository: Path, *args: str) -> str:
    # A checkout may belong to another user: its code runs here anyway, so git may be asked about it, and only about it.
    command = ["git", "-c", f"safe.directory={repository.resolve()}", "-C", str(repository), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


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
    return {name: _version(name) for name in sorted(names, key=str.lower)}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


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
