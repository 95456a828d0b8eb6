"""Fixtures every test may use: the tiny checkpoints, built once a session."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Properties are about values; how long an example takes depends on what else the machine does.
settings.register_profile("relane", deadline=None)
settings.load_profile("relane")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run side by side, one a core: a model that takes every core for itself slows all of them down.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """All of tests/e2e in one worker: its tests share one run of the demo, and change files of it. Others anywhere.

    (xdist's own groups rename tests by an attribute that pytest 9.2 no longer reads: it spread them over the workers.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneDemo(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/e2e" if nodeid.startswith("tests/e2e/") else nodeid

    return OneDemo(config, log)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny("sam2")` is the folder of that tiny random checkpoint, built at its first use in the session."""
    from simworld.tiny import build

    root = tmp_path_factory.mktemp("tiny")

    def folder(name: str) -> Path:
        path = root / name
        return path if path.exists() else build(name, path)

    return folder


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small PhysicalAI-AV data set of one clip (tests/alpamayo/small_pai.py)."""
    from tests.alpamayo import small_pai

    return small_pai.write(tmp_path_factory.mktemp("pai") / "dataset")


@pytest.fixture(scope="session")
def models(tiny):
    """The tiny driver in memory."""
    import drive

    from tests.rollouts import arguments

    return drive.load(drive.parser().parse_args(arguments(Path("none"), Path("none"), tiny)))


@pytest.fixture
def rollout(root: Path, tiny, models, tmp_path: Path):
    """rollout(folder, **flags) drives one arm and returns its JSON and NPZ."""
    from tests.rollouts import arguments, roll

    return lambda folder=tmp_path, **changes: roll(models, arguments(root, folder, tiny, **changes))
