"""Loading and calling the policy: bad folders, bad calls, and the tiny checkpoint."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from relane.alpamayo.policy import Policy, load_policy
from relane.alpamayo.sampling import KeyedNoise
from relane.errors import InputError
from relane.files import read_json
from relane.tiny import alpamayo

HISTORY = np.stack([np.arange(-15, 1) * 1.03, np.zeros(16), np.zeros(16)], axis=1)[None]
UPRIGHT = np.broadcast_to(np.eye(3), (1, 16, 3, 3))


@pytest.fixture(scope="module")
def policy(tiny) -> Policy:
    return load_policy(tiny("alpamayo"))


def frames(seed: int, height: int = 90, width: int = 160) -> list[np.ndarray]:
    blocks = np.random.default_rng(seed).integers(0, 255, (16, height // 10, width // 10, 3), dtype=np.uint8)
    return list(blocks.repeat(10, axis=1).repeat(10, axis=2))


def drive(policy: Policy, images: list[np.ndarray], **more):
    samples = more.get("num_samples", 6)
    history = more.pop("history", HISTORY)
    return policy.rollout([images], history, UPRIGHT, KeyedNoise([("clip", 1)], samples), **more)


def test_the_tiny_driver_drives_sees_and_stops_talking(policy: Policy) -> None:
    out, other = drive(policy, frames(0)), drive(policy, frames(1))
    assert out.xyz.shape == (1, 6, 64, 3)
    assert out.rot.shape == (1, 6, 64, 3, 3)
    assert out.complete.all()
    assert all(reply["cot"] for reply in out.text[0])
    assert out.v0[0] == pytest.approx(10.3, abs=0.01)
    end = out.xyz[0, :, -1]
    assert (np.abs(end[:, 0] - 66) < 25).all()  # about 10.3 m/s for 6.4 s
    assert 0.1 < np.ptp(end[:, 1]) < 15
    assert np.linalg.norm(out.xyz - other.xyz, axis=-1).mean() > 0.05  # other pictures, another path


def test_the_same_call_gives_the_same_bytes(policy: Policy) -> None:
    first, second = drive(policy, frames(0)), drive(policy, frames(0))
    assert first.xyz.tobytes() == second.xyz.tobytes()
    assert first.tokens.tobytes() == second.tokens.tobytes()


def test_cameras_may_differ_in_size(policy: Policy) -> None:
    images = frames(0)
    images[4:8] = frames(0, 120, 180)[4:8]
    assert np.isfinite(drive(policy, images).xyz).all()


def test_an_unfinished_reply_is_said_to_be(policy: Policy) -> None:
    out = drive(policy, frames(0), max_generation_length=2)
    assert not out.complete.any()
    assert (out.lengths == 2).all()
    assert np.isfinite(out.xyz).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_samples": 0}, "num_traj_samples is 0"),
        ({"max_generation_length": 0}, "max_generation_length is 0"),
        ({"diffusion_steps": -1}, "diffusion_steps is -1"),
        ({"history": HISTORY * np.nan}, "NaN"),
        ({"history": HISTORY[:, :8]}, r"expected \(1, 16, 3\)"),
        ({"reasoning": np.zeros((2, 4))}, r"expected \(6, length\)"),
        ({"reasoning": np.full((6, 4), 10**6)}, "outside this checkpoint's vocabulary"),
    ],
)
def test_bad_calls_are_bad_input(policy: Policy, wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        drive(policy, frames(0), **wrong)


@pytest.fixture
def copy(tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny("alpamayo"), tmp_path / "model"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(read_json(path) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "expected 'alpamayo_r1'"),
        ({"vocab_size": 7}, "belongs to another base model"),
        ({"expert_cfg": {"head_dim": 8}}, "cannot read its cache"),
        ({"vlm_name_or_path": "nobody/nothing-here"}, None),
        ({"diffusion_cfg": {"_target_": "x.Diffusion"}}, "diffusion_cfg names 'Diffusion'"),
        ({"tokens_per_history_traj": 47}, "three per history pose"),
    ],
)
def test_a_config_that_does_not_fit_is_said_by_its_key(copy: Path, changes: dict, message: str | None) -> None:
    edit_config(copy, **changes)
    if message is None:  # the base model's folder beside it is found whatever hub name the config has
        assert load_policy(copy).config.vlm_name == "nobody/nothing-here"
        return
    with pytest.raises(InputError, match=message):
        load_policy(copy)


def test_a_base_model_that_is_nowhere_is_bad_input_not_a_download(copy: Path) -> None:
    edit_config(copy, vlm_name_or_path="nobody/nothing-here")
    shutil.rmtree(copy / "vlm")
    with pytest.raises(InputError, match="is not on this machine"):
        load_policy(copy)


def test_missing_and_unexpected_tensors_are_named(copy: Path) -> None:
    index = copy / "model.safetensors.index.json"
    shard = copy / sorted(set(read_json(index)["weight_map"].values()))[-1]
    tensors = load_file(shard)
    tensors["expert.surprise"] = tensors.pop("action_out_proj.weight")
    save_file(tensors, shard)
    weights = read_json(index)["weight_map"]
    weights["expert.surprise"] = weights.pop("action_out_proj.weight")
    index.write_text(json.dumps({"weight_map": weights}))
    with pytest.raises(InputError, match=r"1 missing .*action_out_proj.weight.* 1 unexpected .*expert.surprise"):
        load_policy(copy)


def test_a_cut_shard_is_bad_input(copy: Path) -> None:
    shard = next(copy.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_policy(copy)


def test_bfloat16_runs_with_actions_and_frequencies_in_float32(tiny) -> None:
    half = load_policy(tiny("alpamayo"), dtype="bfloat16")
    assert str(half.network.action_in_proj.sinus[0].freqs.dtype) == "torch.float32"
    assert np.isfinite(drive(half, frames(0)).xyz).all()


def test_the_same_seed_builds_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        alpamayo.build(tmp_path / name, seed=3)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert sum((tmp_path / "a" / file).stat().st_size for file in files) < 2_000_000
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
