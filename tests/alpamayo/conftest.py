"""The reduced golden folder and the policy of its checkpoint, loaded once."""

from pathlib import Path

import pytest

from tests.golden.check_alpamayo import Golden

FOLDER = Path(__file__).parents[1] / "golden" / "alpamayo"


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden(FOLDER)
