"""Loading and calling the policy: bad folders, bad calls, and the tiny checkpoint."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from relane.drivers.alpamayo.policy import Policy, load_policy
from relane.drivers.alpamayo.sampling import KeyedNoise
from relane.errors import InputError
from relane.io.files import read_json
from simworld.tiny import alpamayo

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
        ({"expert_cfg": {"hiden_size": 8}}, "expert_cfg.hiden_size"),
        ({"keep_same_dtype": False}, "keep_same_dtype is False"),
        ({"vlm_backend": "llama"}, "vlm_backend is 'llama'"),
    ],
)
def test_a_config_that_does_not_fit_is_said_by_its_key(copy: Path, changes: dict, message: str | None) -> None:
    edit_config(copy, **changes)
    if message is None:  # the base model's folder beside it is found whatever hub name the config has
        assert load_policy(copy).config.vlm_name == "nobody/nothing-here"
        return
    with pytest.raises(InputError, match=message):
        load_policy(copy)


def edit_part(folder: Path, part: str, **changes: object) -> None:
    edit_config(folder, **{part: read_json(folder / "config.json")[part] | changes})


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("action_space_cfg", {"dt": 0.05}, "action_space_cfg.dt is 0.05"),
        ("action_space_cfg", {"v_smooth": 1e-3}, "action_space_cfg.v_smooth is 0.001"),
        ("action_in_proj_cfg", {"activation": "gelu"}, "action_in_proj_cfg.activation is 'gelu'"),
        ("diffusion_cfg", {"inference_guidance_weight": 1.5}, "inference_guidance_weight 1.5"),
        ("diffusion_cfg", {"inference_guidance_weight": 0.0}, "inference_guidance_weight 0.0"),
        ("diffusion_cfg", {"use_classifier_free_guidance": True}, "use_classifier_free_guidance True"),
        ("diffusion_cfg", {"noise_scale": 0}, "diffusion_cfg.noise_scale is 0"),
        ("hist_traj_tokenizer_cfg", {"predict_yaw": True}, "hist_traj_tokenizer_cfg.predict_yaw is True"),
        ("hist_traj_tokenizer_cfg", {"ego_xyz_min": [-4, -4]}, "three numbers"),
        ("hist_traj_tokenizer_cfg", {"ego_xyz_max": [4, -4, 10]}, "the first ones below the second"),
    ],
)
def test_an_option_of_a_part_that_is_not_run_is_refused_by_name(copy: Path, part, changes, message) -> None:
    edit_part(copy, part, **changes)
    with pytest.raises(InputError, match=message):
        load_policy(copy)


def test_options_without_a_say_in_inference_are_taken(copy: Path) -> None:
    edit_part(copy, "action_space_cfg", accel_bounds=[-9.8, 9.8], curvature_bounds=[-0.33, 0.33], a_ridge=1.0)
    edit_part(copy, "diffusion_cfg", train_sigma=3.0, inference_guidance_weight=1.0, _convert_="all")
    edit_part(copy, "hist_traj_tokenizer_cfg", predict_yaw=False, load_weights=None)
    load_policy(copy)


def test_the_box_of_a_history_step_changes_the_prompt(policy: Policy, copy: Path) -> None:
    edit_part(copy, "hist_traj_tokenizer_cfg", ego_xyz_min=[-4, -4, -10], ego_xyz_max=[4, 4, 10])
    assert torch.equal(
        load_policy(copy).prompt([frames(0)], HISTORY).input_ids, policy.prompt([frames(0)], HISTORY).input_ids
    )
    edit_part(copy, "hist_traj_tokenizer_cfg", ego_xyz_min=[-2, -4, -10])
    ours = load_policy(copy).prompt([frames(0)], HISTORY).input_ids
    first = policy.token_start + policy.config.future_bins
    changed = ours[ours != policy.prompt([frames(0)], HISTORY).input_ids] - first
    # x of the last 15 steps of 1.03 m: (1.03 + 2) / 6 of the bins.
    assert set(changed[1:].tolist()) == {round((1.03 + 2) / 6 * (policy.config.history_bins - 1))}


def test_the_weights_of_the_speed_estimate_change_the_speed(policy: Policy, copy: Path) -> None:
    jerky = HISTORY.copy()
    jerky[0, :, 0] += 0.3 * np.sin(np.arange(-15, 1))
    speeds = [drive(policy, frames(0), history=jerky, num_samples=1).v0[0]]
    for changes in ({"v_lambda": 1.0}, {"v_ridge": 1.0}):
        edit_part(copy, "action_space_cfg", **changes)
        speeds.append(drive(load_policy(copy), frames(0), history=jerky, num_samples=1).v0[0])
    assert len({round(float(speed), 2) for speed in speeds}) == 3


def spoil(folder: Path, name: str, change) -> None:
    """Change one tensor of a checkpoint in place."""
    shard = folder / read_json(folder / "model.safetensors.index.json")["weight_map"][name]
    tensors = load_file(shard)
    change(tensors[name])
    save_file(tensors, shard)


@pytest.mark.parametrize("name", ["action_out_proj.bias", "vlm.lm_head.weight", "expert.norm.weight"])
def test_a_damaged_weight_stops_the_run_at_loading(copy: Path, name: str) -> None:
    spoil(copy, name, lambda tensor: tensor.view(-1)[3 % tensor.numel() :].fill_(float("nan")))
    with pytest.raises(InputError, match=f"tensor {name} holds NaN.*fetch it again"):
        load_policy(copy)


@pytest.mark.parametrize(
    ("name", "what"), [("vlm.lm_head.weight", "logits of the reasoning"), ("action_out_proj.weight", "actions")]
)
def test_what_the_network_says_must_be_finite(copy: Path, name: str, what: str) -> None:
    """Finite weights, each alone plausible to a check of weights, whose products are not."""
    policy = load_policy(copy)
    policy.network.get_parameter(name).data.fill_(3e38)
    with pytest.raises(InputError, match=rf"{copy}: {what}: .* NaN or infinite"):
        drive(policy, frames(0))


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
    freqs, stds = half.network.action_in_proj.sinus[0].freqs, half.network.action_space
    assert freqs.dtype == stds.accel_std.dtype == torch.float32
    # The values are the release's, which keeps these in bfloat16.
    whole = load_policy(tiny("alpamayo")).network
    assert torch.equal(freqs, whole.action_in_proj.sinus[0].freqs.bfloat16().float())
    assert not torch.equal(freqs, whole.action_in_proj.sinus[0].freqs)
    assert torch.equal(stds.accel_std, whole.action_space.accel_std.bfloat16().float())
    assert np.isfinite(drive(half, frames(0)).xyz).all()


def test_the_same_seed_builds_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        alpamayo.build(tmp_path / name, seed=3)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert sum((tmp_path / "a" / file).stat().st_size for file in files) < 2_000_000
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
