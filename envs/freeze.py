"""Write this environment's packages as lock.txt and lock-source.txt: names and versions only, CUDA marked Linux-only.

With a pip report as argument: write the packages of that report as orchestrator.txt instead.
"""

import importlib.metadata
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
FROM_SOURCE = {"sam2"}
LINUX_ONLY = re.compile(r"^(nvidia-|cuda-|triton$)")
HEADER = "# The closed set that was tried together; written by envs/update_lock.sh from direct.txt.\n"


def normal(name: str) -> str:
    """A package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write_orchestrator(report: str) -> None:
    """Write orchestrator.txt from `pip install --dry-run --report`."""
    found = [item["metadata"] for item in json.loads(Path(report).read_text())["install"]]
    lines = sorted(f"{normal(item['name'])}=={item['version']}\n" for item in found)
    (HERE / "orchestrator.txt").write_text(HEADER.replace("direct.txt", "orchestrator.in") + "".join(lines))


def write_lock() -> None:
    """Write both lock files beside this script."""
    names = {}
    for dist in importlib.metadata.distributions():
        names[normal(dist.metadata["Name"])] = dist.version
    names.pop("pip", None)
    lines, source = [HEADER], [HEADER]
    for name, version in sorted(names.items()):
        if name in FROM_SOURCE:
            source.append(f"{name}=={version}\n")
        elif LINUX_ONLY.match(name):
            lines.append(f'{name}=={version} ; platform_system == "Linux"\n')
        else:
            lines.append(f"{name}=={version}\n")
    (HERE / "lock.txt").write_text("".join(lines))
    (HERE / "lock-source.txt").write_text("".join(source))


if __name__ == "__main__":
    write_orchestrator(sys.argv[1]) if len(sys.argv) > 1 else write_lock()
