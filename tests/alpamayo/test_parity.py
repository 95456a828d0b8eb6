"""Our classes against frozen results of the original, and the checker's own honesty."""

import pytest
import torch

from relane.drivers.alpamayo.networks import FourierFeatures
from tests.golden import check_alpamayo

NAMES = ["tokens and prompt", "images", "histories and unicycle"]
NAMES += [f"rollout {case}" for case in ("ends_differ_n3", "eos_n3", "batch2_sampled_n3")] + ["metrics"]


@pytest.mark.parametrize("name", NAMES)
def test_frozen_results_are_reproduced(golden: check_alpamayo.Golden, name: str) -> None:
    check = dict(check_alpamayo.cases(golden))[name]
    with torch.inference_mode():
        assert check_alpamayo.failures(check()) == []


def test_every_case_of_the_folder_is_named_above(golden: check_alpamayo.Golden) -> None:
    assert [name for name, _ in check_alpamayo.cases(golden)] == NAMES


def test_a_wrong_result_is_seen(golden: check_alpamayo.Golden, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    forward = FourierFeatures.forward
    monkeypatch.setattr(FourierFeatures, "forward", lambda self, x: forward(self, x) * 1.01)
    assert check_alpamayo.main([str(golden.folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("FAIL")] == [
        "FAIL rollout ends_differ_n3",
        "FAIL rollout eos_n3",
        "FAIL rollout batch2_sampled_n3",
    ]
