"""Run every case of a folder of frozen Alpamayo-R1 results through our classes; a line a case, exit 1 on failure.

    python tests/golden/check_alpamayo.py FOLDER [--write-reduced OUT]

FOLDER holds checkpoint/, inputs.npz, modules.npz, rollout.npz and metrics.npz as its README describes them. A case is
checked when its arrays are there, so a reduced copy (--write-reduced makes one) runs through the same code.

The arrays are float32 results of another machine. Kernels add in another order there, so numbers agree within
rounding: 1e-5 of an array's largest value, or where many steps add up what is given below. Ids, texts and shapes must
be equal.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from transformers import DynamicCache

from relane.drivers.alpamayo.action_space import initial_speed, unicycle
from relane.drivers.alpamayo.flow import Expert, Prefix, denoise, expert_mask, expert_positions
from relane.drivers.alpamayo.policy import Policy, Rollout, load_policy
from relane.drivers.alpamayo.reasoning import rope_index
from relane.drivers.alpamayo.sampling import SequentialNoise
from relane.drivers.alpamayo.tokens import CONTROL_TOKENS, history_bins, prompt_text
from relane.evaluation import path_metrics
from tests.golden.reduce_alpamayo import write_reduced

Differences = dict[str, float]
# What a largest difference may be, by the word that its name ends with; everything else must be equal. Of these words
# the first four are of the array's largest value (or of 1, where that is less), the others are metres and m/s.
RELATIVE = ("pixels", "noise", "activation", "metric")
TOLERANCES = {
    "pixels": 1e-6,
    "noise": 1e-5,
    "activation": 1e-5,
    "metric": 1e-5,
    "m/s": 1e-5,
    "m": 1e-4,
    "path": 1e-3,
    "std": 1e-3,
}


class Golden:
    """One folder: lazily read arrays by file, and the policy of its checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs, self.modules, self.rollouts, self.metrics = (
            np.load(folder / f"{name}.npz") if (folder / f"{name}.npz").is_file() else {}
            for name in ("inputs", "modules", "rollout", "metrics")
        )
        self.policy: Policy = load_policy(folder / "checkpoint")

    def scenes(self, which: str = "main") -> tuple[list, np.ndarray, np.ndarray]:
        """Frames, history xyz and rot of the input sets `main`, `history_b` and `batch2`."""
        data = self.inputs
        frames = list(data["image_frames"].transpose(0, 2, 3, 1))
        main = data["ego_history_xyz"][0], data["ego_history_rot"][0]
        other = data["history_b_xyz"][0], data["history_b_rot"][0]
        if which == "main":
            return [frames], *main
        if which == "history_b":
            return [frames], *other
        reordered = [frames[i] for i in data["batch2_item1_frame_order"]]
        return [frames, reordered], np.concatenate([main[0], other[0]]), np.concatenate([main[1], other[1]])


class Difference(float):
    """A largest absolute difference that remembers the largest value of the array."""

    scale = 1.0


def largest(ours: object, theirs: np.ndarray) -> float:
    """Largest absolute difference; infinite when the shapes differ or something is not finite."""
    ours = np.asarray(ours.detach() if isinstance(ours, torch.Tensor) else ours)
    if ours.shape != theirs.shape:
        return float("inf")
    if theirs.dtype.kind in "US":
        return float((ours != theirs).sum())
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0.0)
    found = Difference(difference if np.isfinite(difference) else "inf")
    found.scale = max(1.0, float(np.abs(theirs.astype(np.float64)).max(initial=0.0)))
    return found


def check_tokens(golden: Golden) -> Differences:
    """Extended vocabulary, the prompt as text and as ids, the history in it."""
    data, policy = golden.inputs, golden.policy
    ids = policy.tokenizer.convert_tokens_to_ids(list(CONTROL_TOKENS))
    names = np.array([token[2:-2] for token in CONTROL_TOKENS])
    frames, xyz, _ = golden.scenes()
    fused = policy.prompt(frames, xyz).input_ids
    unfused = torch.where(torch.isin(fused, _history_ids(policy)), policy.placeholder, fused)
    return {
        "vocabulary size": largest(len(policy.tokenizer), data["tokenizer_size"]),
        "<i0>": largest(policy.token_start, data["traj_token_start_idx"]),
        "control token ids": largest(ids, data["special_token_ids"]) + largest(names, data["special_token_names"]),
        "prompt text": largest(prompt_text([1] * len(frames[0]), policy.config.history_tokens), data["prompt_text"]),
        "prompt ids": largest(unfused, data["prompt_token_ids"]),
        "fused prompt ids": largest(fused, data["prompt_token_ids_fused"]),
    }


def _history_ids(policy: Policy) -> torch.Tensor:
    return policy.token_start + policy.config.future_bins + torch.arange(policy.config.history_bins)


def check_images(golden: Golden) -> Differences:
    """The processor: grids at this checkpoint's and the release's limits, pixel values."""
    data, processor = golden.inputs, golden.policy.image_processor
    frames, xyz, _ = golden.scenes()
    prompt = golden.policy.prompt(frames, xyz)
    rows = data["pixel_rows"] if "pixel_rows" in data else slice(None)
    release = {"shortest_edge": 163_840, "longest_edge": 196_608}
    sizes = [tuple(hw) for hw in data["release_limit_input_hw"]]
    blank = [torch.zeros(3, int(h), int(w), dtype=torch.uint8) for h, w in sizes]
    y, x = np.mgrid[:180, :320]
    ramp = np.stack([(3 * y + 2 * x + offset) % 256 for offset in (0, 60, 130)]).astype(np.uint8)
    ramp = processor(images=[torch.from_numpy(ramp)], size=release, return_tensors="pt")["pixel_values"]
    return {
        "grid": largest(prompt.image_grid_thw, data["image_grid_thw"]),
        "values, pixels": largest(prompt.pixel_values[rows], data["pixel_values"]),
        "grids of the release": largest(
            processor(images=blank, size=release, return_tensors="pt")["image_grid_thw"],
            data["release_limit_grid_thw"],
        ),
        "ramp, pixels": largest(ramp[data["ramp_rows"]], data["ramp_pixel_values"]),
    }


def check_histories(golden: Golden) -> Differences:
    """Tokens and speed at t0 of the stored histories, and the unicycle on stored actions."""
    data, policy = golden.modules, golden.policy
    bins = history_bins(data["hist_xyz"], policy.config.history_bins)
    dt = policy.config.dt
    accel, curvature = policy.physical_action(data["unicycle_action"])
    v0 = initial_speed(data["hist_xyz"], data["hist_rot"], dt)
    xyz, rot = unicycle(accel, curvature, v0, data["hist_xyz"][:, -1, 2], dt)
    return {
        "bins": largest(bins, data["hist_bins"]),
        "token ids": largest(bins + policy.token_start + policy.config.future_bins, data["hist_token_ids"]),
        "v0, m/s": largest(v0, data["hist_v0"]),
        "acceleration, activation": largest(accel, data["unicycle_accel"]),
        "curvature, activation": largest(curvature, data["unicycle_curvature"]),
        "xyz, m": largest(xyz, data["unicycle_xyz"]),
        "rot, m": largest(rot, data["unicycle_rot"]),
    }


def check_action_in(golden: Golden) -> Differences:
    """Fourier features and the projection of actions into the expert."""
    data, network = golden.modules, golden.policy.network
    x, t = torch.from_numpy(data["ainproj_x"]), torch.from_numpy(data["ainproj_t"])[:, 0, 0]
    proj = network.action_in_proj
    features = torch.cat([proj.sinus[0](x[:, :4, 0]), proj.sinus[1](x[:, :4, 1])], dim=-1)
    return {
        "Fourier x, activation": largest(features, data["ainproj_fourier_x"]),
        "Fourier t, activation": largest(proj.timestep_fourier_encoder(t)[:, None], data["ainproj_fourier_t"]),
        "embeddings, activation": largest(proj(x, t), data["ainproj_out"]),
    }


def check_vlm(golden: Golden) -> Differences:
    """Vision tower, M-RoPE positions and last logits of the prompt."""
    data, vlm = golden.modules, golden.policy.network.vlm
    frames, xyz, _ = golden.scenes()
    prompt = golden.policy.prompt(frames, xyz)
    positions, delta = rope_index(vlm, prompt)
    vision = vlm.model.get_image_features(prompt.pixel_values, prompt.image_grid_thw, return_dict=True)
    deep = torch.stack([torch.cat(level) for level in vision.deepstack_features])
    out = vlm.model(
        input_ids=prompt.input_ids,
        pixel_values=prompt.pixel_values,
        image_grid_thw=prompt.image_grid_thw,
        position_ids=positions,
    ).last_hidden_state[0]
    return {
        "position ids": largest(positions, data["vlm_position_ids"]),
        "rope delta": largest(delta, data["vlm_rope_delta"]),
        "image embeddings, activation": largest(torch.cat(vision.pooler_output), data["vlm_image_embeds"]),
        "deepstack, activation": largest(deep, data["vlm_deepstack_embeds"]),
        "hidden, activation": largest(out[-8:], data["vlm_last_hidden"]),
        "logits, activation": largest(vlm.lm_head(out[-1]), data["vlm_last_logits"]),
    }


def _stored_prefix(golden: Golden) -> Prefix:
    data = golden.modules
    cache = DynamicCache(config=golden.policy.network.vlm.config.text_config)
    for layer, (key, value) in enumerate(zip(data["prefix_keys"], data["prefix_values"], strict=True)):
        cache.update(torch.from_numpy(key), torch.from_numpy(value), layer)
    delta = torch.from_numpy(data["vlm_rope_delta"]).expand(len(data["prefix_end_offset"]), 1)
    return Prefix(cache, torch.from_numpy(data["prefix_end_offset"]), delta)


def check_expert(golden: Golden) -> Differences:
    """One expert step on the stored cache: positions, mask, every layer, velocity."""
    data, network = golden.modules, golden.policy.network
    prefix = _stored_prefix(golden)
    noise = torch.from_numpy(golden.rollouts[f"{data['prefix_case']}.noise"])
    steps = golden.policy.config.n_waypoints
    mask = expert_mask(prefix, steps, torch.float32)
    expert, layers = Expert(network, prefix, steps), []
    hooks = [layer.register_forward_hook(lambda _m, _i, out: layers.append(out)) for layer in network.expert.layers]
    hidden = expert.hidden(noise, torch.zeros(len(noise)))
    for hook in hooks:
        hook.remove()
    return {
        "position ids": largest(expert_positions(prefix, steps), data["expert_position_ids"]),
        "hidden positions": largest(mask[:, 0, 0] < 0, data["expert_attention_masked"]),
        "embeddings, activation": largest(
            network.action_in_proj(noise, torch.zeros(len(noise))), data["expert_in_embeds"]
        ),
        "layers, activation": largest(torch.stack(layers), data["expert_layer_out"]),
        "last, activation": largest(hidden, data["expert_hidden"]),
        "velocity, activation": largest(network.action_out_proj(hidden), data["expert_velocity"]),
    }


def check_flow(golden: Golden) -> Differences:
    """The whole flow from the stored noise over the stored cache, and the path it gives."""
    data, policy = golden.modules, golden.policy
    expert = Expert(policy.network, _stored_prefix(golden), policy.config.n_waypoints)
    states, velocities, times = denoise(expert, torch.from_numpy(data["flow_noise"]), policy.config.diffusion_steps)
    _, xyz, rot = golden.scenes()
    v0 = np.repeat(initial_speed(xyz, rot, policy.config.dt), len(states))
    z = np.repeat(xyz[:, -1, 2], len(states))
    path, turn = unicycle(*policy.physical_action(states[:, -1].numpy()), v0, z, policy.config.dt)
    return {
        "times, m": largest(times, data["flow_times"]),
        "states, path": largest(states, data["flow_states"]),
        "velocities, path": largest(velocities, data["flow_velocities"]),
        "xyz, path": largest(path[None, None], data["flow_xyz"]),
        "rot, path": largest(turn[None, None], data["flow_rot"]),
    }


def run_rollout(golden: Golden, case: str) -> tuple[Rollout, SequentialNoise]:
    """One rollout case with the original's order of random draws."""
    params = json.loads(str(golden.rollouts[f"{case}.params_json"]))
    noise = SequentialNoise(params["seed"])
    keys = ("num_traj_samples", "temperature", "top_p", "max_generation_length")
    samples, temperature, top_p, limit = (params[key] for key in keys)
    result = golden.policy.rollout(
        *golden.scenes(params["inputs"]),
        noise,
        num_samples=samples,
        temperature=temperature,
        top_p=top_p,
        max_generation_length=limit,
        diffusion_steps=params["inference_step"],
    )
    return result, noise


def check_rollout(golden: Golden, case: str) -> Differences:
    """Words, tokens, bookkeeping, random stream, actions and paths of one case."""
    data = {key.partition(".")[2]: golden.rollouts[key] for key in golden.rollouts if key.startswith(f"{case}.")}
    result, noise = run_rollout(golden, case)
    texts = {
        part: np.array([[[reply[part] for reply in scene]] for scene in result.text])
        for part in ("cot", "meta_action", "answer")
    }
    return {
        "tokens as sampled": largest(result.reply.raw, data["generated_ids_raw"]),
        "tokens": largest(result.reply.tokens, data["generated_ids"]),
        "texts": sum(largest(text, data[part]) for part, text in texts.items()),
        "complete": largest(result.reply.complete, data["complete"]),
        "ends": largest(result.reply.end_offset, data["end_offset"]),
        "cache length": largest(result.reply.cache.get_seq_length(), data["prefill_len"]),
        "rope delta": largest(result.reply.rope_delta, data["rope_deltas"]),
        "drawn, noise": largest(result.states[:, 0], data["noise"]),
        "next random number": largest(torch.rand(1, generator=noise.generator), data["rng_after"]),
        "v0, m/s": largest(result.v0, data["v0"]),
        "states, path": largest(result.states, data["denoise_states"]),
        "xyz, path": largest(result.xyz[:, None], data["pred_xyz"]),
        "rot, path": largest(result.rot[:, None], data["pred_rot"]),
    }


def check_metrics(golden: Golden) -> Differences:
    """ADE, minADE by time and corner distance of stored paths: mean and spread over the sets."""
    data = golden.metrics
    pred, rot, truth, truth_rot = data["pred_xyz"], data["pred_rot"], data["gt_xyz"], data["gt_rot"]
    truth, truth_rot = truth[:, None], truth_rot[:, None]
    flat, full = path_metrics.distances(pred, truth), path_metrics.distances(pred, truth, dims=3)
    out = {
        "ade xy, metric": largest(path_metrics.ade(flat), data["ade_xy"]),
        "ade xyz, metric": largest(path_metrics.ade(full), data["ade_xyz"]),
        "ade xy 30, metric": largest(path_metrics.ade(flat, 30), data["ade_xy_30"]),
    }
    groups = {"minade": flat, "minade_xyz": full, "distance_metrics_all_sets": flat}
    for name, distance in groups.items():
        for label, steps in {"": None, "/by_t=0.5": 5, "/by_t=1.0": 10, "/by_t=3.0": 30, "/by_t=5.0": 50}.items():
            value = path_metrics.min_ade(distance, steps)
            out[f"{name}{label}, metric"] = largest(value.mean(-1), data[f"{name}.min_ade{label}"])
            out[f"{name}{label}, std"] = largest(value.std(-1), data[f"{name}.min_ade{label}_std"])
    for label, steps in {"": None, "/by_t=3.0": 30}.items():
        out[f"ade{label}, metric"] = largest(
            path_metrics.ade(flat, steps)[..., 0].mean(-1), data[f"distance_metrics_all_sets.ade{label}"]
        )
    for name, box in {"corner_other_box": "box_other_lwh", "distance_metrics_all_sets": "box_default_lwh"}.items():
        value = path_metrics.corner_distance(pred, rot, truth, truth_rot, data[box])
        out[f"{name} corners, metric"] = largest(value.mean(-1), data[f"{name}.corner_distance"])
        out[f"{name} corners, std"] = largest(value.std(-1), data[f"{name}.corner_distance_std"])
    return out


def cases(golden: Golden) -> Iterator[tuple[str, Callable[[], Differences]]]:
    """(name, check) for all that this folder has arrays for."""
    yield "tokens and prompt", lambda: check_tokens(golden)
    yield "images", lambda: check_images(golden)
    yield "histories and unicycle", lambda: check_histories(golden)
    if "ainproj_out" in golden.modules:
        yield "action_in_proj", lambda: check_action_in(golden)
    if "vlm_image_embeds" in golden.modules:
        yield "language model", lambda: check_vlm(golden)
    if "prefix_keys" in golden.modules:
        yield "expert step", lambda: check_expert(golden)
        yield "flow run", lambda: check_flow(golden)
    for case in golden.rollouts["case_names"]:
        yield f"rollout {case}", lambda case=str(case): check_rollout(golden, case)
    if "pred_xyz" in golden.metrics:
        yield "metrics", lambda: check_metrics(golden)


def failures(differences: Differences) -> list[str]:
    """Names whose difference is above its tolerance."""
    return [name for name, difference in differences.items() if not difference <= allowed(name, difference)]


def allowed(name: str, difference: float) -> float:
    """What the difference of this name may be."""
    kind = name.rpartition(", ")[2]
    return TOLERANCES.get(kind, 0.0) * (getattr(difference, "scale", 1.0) if kind in RELATIVE else 1.0)


def check_folder(folder: Path) -> int:
    """Print a line a case; returns how many failed."""
    golden, failed = Golden(folder), 0
    for name, check in cases(golden):
        with torch.inference_mode():
            differences = check()
        bad = failures(differences)
        failed += bool(bad)
        worst: Differences = {}
        for label, difference in differences.items():
            kind = label.rpartition(", ")[2] if difference <= 0 or label.rpartition(", ")[2] in TOLERANCES else label
            worst[kind] = max(difference, worst.get(kind, 0.0))
        shown = ", ".join(f"{kind} {d:.1e}" for kind, d in worst.items() if d > 0) or "all equal"
        print(
            f"{'FAIL' if bad else 'ok  '} {name}: {len(differences)} arrays; {shown}{' <- ' if bad else ''}{bad or ''}"
        )
    return failed


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the golden layout")
    parser.add_argument("--write-reduced", type=Path, metavar="OUT", help="also write a reduced copy")
    args = parser.parse_args(argv)
    failed = check_folder(args.folder)
    if args.write_reduced:
        write_reduced(args.folder, args.write_reduced)
    print(f"{failed} case(s) failed" if failed else "all cases passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
