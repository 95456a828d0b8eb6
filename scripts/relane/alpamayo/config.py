"""What a checkpoint says of itself: its config.json, read as plain dictionaries."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relane.errors import InputError
from relane.files import read_json

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
# Pixel limits of the release, used when config.json leaves them open.
_RELEASE_MIN_PIXELS, _RELEASE_MAX_PIXELS = 163_840, 196_608


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
    if not raw.get("expert_non_causal_attention", True):
        raise InputError(f"{path}: expert_non_causal_attention is false; only the non-causal expert is supported")
    if flow.get("int_method", "euler") != "euler":
        raise InputError(f"{path}: diffusion_cfg.int_method is {flow['int_method']!r}; only 'euler' is supported")
    history_tokens = int(raw.get("tokens_per_history_traj", 48))
    if history_tokens < 6 or history_tokens % 3:
        raise InputError(f"{path}: tokens_per_history_traj is {history_tokens}, expected three per history pose")
    return PolicyConfig(
        vlm_name=str(raw.get("vlm_name_or_path", "vlm")),
        vocab_size=int(_required(path, raw, "vocab_size")),
        history_tokens=history_tokens,
        future_bins=int(parts["traj_tokenizer_cfg"].get("num_bins", 3000)),
        history_bins=int(parts["hist_traj_tokenizer_cfg"].get("num_bins", 1000)),
        traj_token_start=raw.get("traj_token_start_idx"),
        min_pixels=int(raw.get("min_pixels") or _RELEASE_MIN_PIXELS),
        max_pixels=int(raw.get("max_pixels") or _RELEASE_MAX_PIXELS),
        n_waypoints=int(space.get("n_waypoints", 64)),
        dt=float(space.get("dt", 0.1)),
        accel_mean=float(space.get("accel_mean", 0.0)),
        accel_std=float(space.get("accel_std", 1.0)),
        curvature_mean=float(space.get("curvature_mean", 0.0)),
        curvature_std=float(space.get("curvature_std", 1.0)),
        in_hidden=int(proj.get("hidden_size", 1024)),
        in_layers=int(proj.get("num_enc_layers", 4)),
        in_features=int(proj.get("num_fourier_feats", 20)),
        in_max_freq=float(proj.get("max_freq", 100.0)),
        diffusion_steps=int(flow.get("num_inference_steps", 10)),
        expert=dict(raw.get("expert_cfg") or {}),
    )


def _required(path: Path, raw: dict[str, Any], key: str) -> Any:
    if raw.get(key) is None:
        raise InputError(f"{path}: the key {key!r} is missing; is this a complete Alpamayo-R1 checkpoint?")
    return raw[key]


def _part(path: Path, raw: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    part = raw.get(key) or {}
    target = str(part.get("_target_", name)).rpartition(".")[2]
    if target != name:
        raise InputError(f"{path}: {key} names {target!r}; this code runs {name!r} only")
    return part
