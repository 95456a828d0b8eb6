"""What a checkpoint says of itself: its config.json, read as plain dictionaries."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relane.errors import InputError
from relane.io.files import read_json

# The class names that config.json may give for its parts. The parts are described by import paths of the original
# package; we build our own classes, so an unknown name is a checkpoint that this code was not written for.
_KNOWN_PARTS = {
    "action_space_cfg": "UnicycleAccelCurvatureActionSpace",
    "action_in_proj_cfg": "PerWaypointActionInProjV2",
    "action_out_proj_cfg": "Linear",
    "diffusion_cfg": "FlowMatching",
    "hist_traj_tokenizer_cfg": "DeltaTrajectoryTokenizer",
    "traj_tokenizer_cfg": "DiscreteTrajectoryTokenizer",
}
# What each part may say besides its `_target_`: keys that `read_config` reads, and keys without a say in inference. A
# key that is in neither could change results, and is refused unless it is switched off.
_READ = {
    "action_space_cfg": "n_waypoints dt accel_mean accel_std curvature_mean curvature_std v_lambda v_ridge",
    "action_in_proj_cfg": "hidden_size num_enc_layers num_fourier_feats max_freq",
    "action_out_proj_cfg": "",
    "diffusion_cfg": "num_inference_steps int_method inference_guidance_weight use_classifier_free_guidance",
    "hist_traj_tokenizer_cfg": "num_bins ego_xyz_min ego_xyz_max",
    "traj_tokenizer_cfg": "num_bins",
}
_WITHOUT_A_SAY = {
    # Bounds are checked and never clip; the rest turns a path into actions, which only training does.
    "action_space_cfg": "accel_bounds curvature_bounds theta_lambda theta_ridge a_lambda a_ridge kappa_lambda "
    "kappa_ridge",
    # Sizes, which the tensors themselves are held against.
    "action_in_proj_cfg": "in_dims out_dim",
    "action_out_proj_cfg": "in_features out_features bias",
    "diffusion_cfg": "x_dims",
    "hist_traj_tokenizer_cfg": "",
    # Futures are written as a path and never as tokens: only how many ids they take matters.
    "traj_tokenizer_cfg": "action_space_cfg dims_min dims_max",
}
# Top-level keys that would change results, with the one value that this code runs.
_FIXED = {"expert_non_causal_attention": True, "keep_same_dtype": True, "add_special_tokens": True}
_FIXED |= {"vlm_backend": "qwenvl3"}
# Pixel limits of the release, used when config.json leaves them open.
_RELEASE_MIN_PIXELS, _RELEASE_MAX_PIXELS = 163_840, 196_608
# The values of the release's classes, which its config.json leaves out.
V_LAMBDA, V_RIDGE = 1e-6, 1e-4
STEP_MIN, STEP_MAX = (-4.0, -4.0, -10.0), (4.0, 4.0, 10.0)


@dataclass(frozen=True)
class PolicyConfig:
    """The numbers of a checkpoint that inference needs. Times in seconds, accelerations m/s2, curvatures 1/m."""

    vlm_name: str
    vocab_size: int
    history_tokens: int  # three (x, y, z) per history pose
    future_bins: int
    history_bins: int
    traj_token_start: int | None  # id of <i0>, when the checkpoint states it
    min_pixels: int
    max_pixels: int
    n_waypoints: int
    dt: float
    accel_mean: float
    accel_std: float
    curvature_mean: float
    curvature_std: float
    v_lambda: float  # weights of the speed estimate: of its third differences, and of the speeds
    v_ridge: float
    step_min: tuple[float, ...]  # box into which one step of the history is binned: x, y, z in metres
    step_max: tuple[float, ...]
    in_hidden: int
    in_layers: int
    in_features: int
    in_max_freq: float
    diffusion_steps: int
    expert: dict[str, Any] = field(default_factory=dict)  # set over the VLM's text config

    @property
    def history_steps(self) -> int:
        """Number of history poses."""
        return self.history_tokens // 3


def read_config(folder: str | Path) -> PolicyConfig:
    """Read `folder`/config.json. Raises InputError that names the key where the checkpoint is not one we can run."""
    path = Path(folder) / "config.json"
    raw = read_json(path)
    if raw.get("model_type") != "alpamayo_r1":
        raise InputError(f"{path}: model_type is {raw.get('model_type')!r}, expected 'alpamayo_r1'")
    parts = {key: _part(path, raw, key, name) for key, name in _KNOWN_PARTS.items()}
    space, proj, flow = parts["action_space_cfg"], parts["action_in_proj_cfg"], parts["diffusion_cfg"]
    for key, value in _FIXED.items():
        if raw.get(key, value) != value:
            raise InputError(f"{path}: {key} is {raw[key]!r}; this code runs {value!r} only")
    _check_flow(path, flow)
    if float(space.get("dt", 0.1)) != 0.1:
        raise InputError(f"{path}: action_space_cfg.dt is {space['dt']}; ego history and frames are read at 0.1 s only")
    tokenizer = parts["hist_traj_tokenizer_cfg"]
    step_min, step_max = _box(path, tokenizer)
    history_tokens = int(raw.get("tokens_per_history_traj", 48))
    if history_tokens < 6 or history_tokens % 3:
        raise InputError(f"{path}: tokens_per_history_traj is {history_tokens}, expected three per history pose")
    return PolicyConfig(
        vlm_name=str(raw.get("vlm_name_or_path", "vlm")),
        vocab_size=int(_required(path, raw, "vocab_size")),
        history_tokens=history_tokens,
        future_bins=int(parts["traj_tokenizer_cfg"].get("num_bins", 3000)),
        history_bins=int(tokenizer.get("num_bins", 1000)),
        traj_token_start=raw.get("traj_token_start_idx"),
        min_pixels=int(raw.get("min_pixels") or _RELEASE_MIN_PIXELS),
        max_pixels=int(raw.get("max_pixels") or _RELEASE_MAX_PIXELS),
        n_waypoints=int(space.get("n_waypoints", 64)),
        dt=float(space.get("dt", 0.1)),
        accel_mean=float(space.get("accel_mean", 0.0)),
        accel_std=float(space.get("accel_std", 1.0)),
        curvature_mean=float(space.get("curvature_mean", 0.0)),
        curvature_std=float(space.get("curvature_std", 1.0)),
        v_lambda=float(space.get("v_lambda", V_LAMBDA)),
        v_ridge=float(space.get("v_ridge", V_RIDGE)),
        step_min=step_min,
        step_max=step_max,
        in_hidden=int(proj.get("hidden_size", 1024)),
        in_layers=int(proj.get("num_enc_layers", 4)),
        in_features=int(proj.get("num_fourier_feats", 20)),
        in_max_freq=float(proj.get("max_freq", 100.0)),
        diffusion_steps=int(flow.get("num_inference_steps", 10)),
        expert=dict(raw.get("expert_cfg") or {}),
    )


def _check_flow(path: Path, flow: dict[str, Any]) -> None:
    if flow.get("int_method", "euler") != "euler":
        raise InputError(f"{path}: diffusion_cfg.int_method is {flow['int_method']!r}; only 'euler' is supported")
    weight, guided = flow.get("inference_guidance_weight"), flow.get("use_classifier_free_guidance")
    if guided or (weight is not None and float(weight) != 1.0):
        raise InputError(
            f"{path}: diffusion_cfg asks for guidance (inference_guidance_weight {weight}, "
            f"use_classifier_free_guidance {guided}); this code runs the flow without (1.0, false)"
        )


def _box(path: Path, tokenizer: dict[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    step_min, step_max = (
        tuple(map(float, tokenizer.get(name) or default))
        for name, default in (("ego_xyz_min", STEP_MIN), ("ego_xyz_max", STEP_MAX))
    )
    if len(step_min) != 3 or len(step_max) != 3 or not all(map(float.__lt__, step_min, step_max)):
        raise InputError(
            f"{path}: hist_traj_tokenizer_cfg.ego_xyz_min and ego_xyz_max are {step_min} and {step_max}; three numbers "
            "each (x, y, z in metres) are needed, the first ones below the second"
        )
    return step_min, step_max


def _required(path: Path, raw: dict[str, Any], key: str) -> Any:
    if raw.get(key) is None:
        raise InputError(f"{path}: the key {key!r} is missing; is this a complete Alpamayo-R1 checkpoint?")
    return raw[key]


def _part(path: Path, raw: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    part = raw.get(key) or {}
    target = str(part.get("_target_", name)).rpartition(".")[2]
    if target != name:
        raise InputError(f"{path}: {key} names {target!r}; this code runs {name!r} only")
    known = {*_READ[key].split(), *_WITHOUT_A_SAY[key].split()}
    for option, value in part.items():
        # Of hydra's own (`_target_`, `_recursive_`) and of training; what is off changes nothing.
        if option.startswith(("_", "train_")) or option in known or value is None or value is False:
            continue
        raise InputError(
            f"{path}: {key}.{option} is {value!r}: this code does not know what that changes, and so does not run it; "
            "take the key out if it has no say in inference"
        )
    return part
