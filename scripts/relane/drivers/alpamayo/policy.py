"""The driving policy: camera frames and ego history in, sampled paths and their reasoning out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from relane.drivers.alpamayo.action_space import initial_speed, unicycle
from relane.drivers.alpamayo.checkpoint import Loaded, load_checkpoint
from relane.drivers.alpamayo.flow import Expert, Prefix, denoise
from relane.drivers.alpamayo.reasoning import Prompt, Reply, Vocabulary, write_reply
from relane.drivers.alpamayo.sampling import Noise, Sampler
from relane.drivers.alpamayo.tokens import (
    IMAGE_PAD,
    PLACEHOLDER,
    STOP,
    TEXT_PARTS,
    extract_text,
    history_bins,
    prompt_text,
)
from relane.errors import InputError
from relane.io.timer import Timer
from relane.models import windows_attention
from relane.models.finite import check_finite


@dataclass(frozen=True)
class Rollout:
    """Sampled paths of B scenes, K samples each, T waypoints 0.1 s apart from t0 + 0.1 s; rig frame at t0, metres.

    `xyz` (B, K, T, 3) and `rot` (B, K, T, 3, 3) float32; `action` (B, K, T, 2) float32, normalised (acceleration,
    curvature); `text` [B][K] dictionaries with "cot", "meta_action", "answer"; `complete` (B, K) bool: the reply
    reached the path (an incomplete one gives a path from an unfinished thought); `tokens` (B, K, G) int64, padded
    behind the stop token; `lengths` (B, K) int64: tokens written, the stop token included; `v0` (B,) m/s; `noise`
    (B, K, T, 2); `seconds` per phase. `reply` and `states` hold the inner results for parity tests.
    """

    xyz: np.ndarray
    rot: np.ndarray
    action: np.ndarray
    text: list[list[dict[str, str]]]
    complete: np.ndarray
    tokens: np.ndarray
    lengths: np.ndarray
    v0: np.ndarray
    noise: np.ndarray
    seconds: dict[str, float]
    reply: Reply
    states: torch.Tensor

    def scene(self, number: int) -> "Rollout":
        """One scene's part, as a rollout of it alone would be. `seconds` are those of all scenes together."""
        samples = self.xyz.shape[1]
        written = self.lengths[number].max() + bool(self.complete[number].all())
        rows = slice(number * samples, (number + 1) * samples)
        own = {
            name: getattr(self, name)[number : number + 1]
            for name in ("xyz", "rot", "action", "text", "complete", "lengths", "v0", "noise")
        }
        reply = replace(
            self.reply,
            raw=self.reply.raw[rows, :written],
            tokens=self.reply.tokens[rows, :written],
            **{name: getattr(self.reply, name)[rows] for name in ("complete", "end_offset", "rope_delta", "visible")},
        )
        tokens = self.tokens[number : number + 1, :, :written]
        return replace(self, tokens=tokens, reply=reply, states=self.states[rows], **own)


class Policy:
    """An Alpamayo-R1 checkpoint in memory. Make one with `load_policy`."""

    def __init__(self, loaded: Loaded, device: torch.device) -> None:
        self.config, self.network, self.device = loaded.config, loaded.network, device
        self.folder = loaded.folder
        windows_attention.use(self.network.vlm.model.visual)
        self.tokenizer, self.image_processor, self.token_start = (
            loaded.tokenizer,
            loaded.image_processor,
            loaded.token_start,
        )
        eos = self.network.vlm.config.text_config.eos_token_id
        ids = self.tokenizer.convert_tokens_to_ids
        self.vocabulary = Vocabulary(
            stop=ids(STOP),
            eos=frozenset([eos] if isinstance(eos, int) else eos or []),
            pad=self.tokenizer.pad_token_id,
        )
        self.image_token, self.placeholder = ids(IMAGE_PAD), ids(PLACEHOLDER)

    def prompt(self, frames: Sequence[Sequence[np.ndarray]], history_xyz: np.ndarray) -> Prompt:
        """Frames [B][N] of (H, W, 3) uint8 RGB, camera-major and oldest first, and history (B, 16, 3) -> a prompt.

        Frames of one scene may differ in size; scenes must come out equally long. On the CPU.
        """
        history_xyz = np.asarray(history_xyz)
        if history_xyz.shape != (len(frames), self.config.history_steps, 3):
            raise InputError(
                f"ego history has shape {history_xyz.shape}, expected {(len(frames), self.config.history_steps, 3)}"
            )
        images = [torch.from_numpy(np.ascontiguousarray(f)).permute(2, 0, 1) for scene in frames for f in scene]
        pixels = self.image_processor(images=images, return_tensors="pt")
        grid = pixels["image_grid_thw"]
        counts = (grid.prod(dim=-1) // self.image_processor.merge_size**2).split([len(scene) for scene in frames])
        tokens = [self._prompt_ids(count.tolist(), xyz) for count, xyz in zip(counts, history_xyz, strict=True)]
        if len({len(ids) for ids in tokens}) != 1:
            raise InputError("scenes of one batch must have the same number of image tokens; roll them out one by one")
        input_ids = torch.tensor(tokens)
        return Prompt(input_ids, (input_ids == self.image_token).long(), pixels["pixel_values"], grid)

    def _prompt_ids(self, image_tokens: list[int], history_xyz: np.ndarray) -> list[int]:
        text = prompt_text(image_tokens, self.config.history_tokens)
        bins = history_bins(history_xyz, self.config.history_bins, self.config.step_min, self.config.step_max)
        history = iter((self.token_start + self.config.future_bins + bins).tolist())
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [next(history) if token == self.placeholder else token for token in ids]

    @torch.inference_mode()
    def rollout(
        self,
        frames: Sequence[Sequence[np.ndarray]],
        history_xyz: np.ndarray,
        history_rot: np.ndarray,
        noise: Noise,
        *,
        num_samples: int = 6,
        top_p: float = 0.98,
        temperature: float = 0.6,
        max_generation_length: int = 256,
        diffusion_steps: int | None = None,
        reasoning: np.ndarray | None = None,
        flow_noise: np.ndarray | None = None,
    ) -> Rollout:
        """Sample `num_samples` paths per scene in one batched call.

        `frames` and `history_xyz` as for `prompt`, `history_rot` (B, 16, 3, 3), last pose the origin. `reasoning`
        (B*K, G) int64 replaces the written words by given tokens; `flow_noise` (B*K, T, 2) replaces the noise's draw.
        Raises InputError for K below 1, NaN in the history, or a sampling parameter outside its range.
        """
        self._check(history_xyz, history_rot, num_samples, max_generation_length, diffusion_steps)
        timer = Timer(self.device)
        with timer("prepare"):
            prompt = self.prompt(frames, history_xyz).to(self.device)
        trajectory_tokens = self.config.future_bins + self.config.history_bins
        sampler = Sampler(temperature, top_p, slice(self.token_start, self.token_start + trajectory_tokens))

        def choose(step: int, logits: torch.Tensor) -> torch.Tensor:
            self._check_finite(logits, "logits of the reasoning")
            return noise.token(step, sampler.scores(logits))

        with timer("reasoning"):
            reply = write_reply(
                self.network.vlm,
                prompt,
                num_samples,
                choose,
                max_generation_length,
                self.vocabulary,
                None if reasoning is None else self._forced(reasoning, len(frames) * num_samples),
                noise.one_stream,
            )
        rows = len(reply.tokens)
        with timer("flow"):
            start = torch.as_tensor(flow_noise) if flow_noise is not None else noise.flow(rows, self.config.n_waypoints)
            expert = Expert(
                self.network,
                Prefix(reply.cache, reply.end_offset, reply.rope_delta, reply.visible),
                self.config.n_waypoints,
            )
            states, _, _ = denoise(expert, start.to(self.device), diffusion_steps or self.config.diffusion_steps)
        return self._result(prompt, reply, states, history_xyz, history_rot, num_samples, timer.seconds)

    def rollout_many(
        self,
        arms: Sequence[Sequence[np.ndarray]],
        history_xyz: np.ndarray,
        history_rot: np.ndarray,
        noise: Noise,
        **how,
    ) -> list[Rollout]:
        """Roll out several arms of one clip in one batched call; one `Rollout` an arm, as `rollout` gives it alone.

        `arms` [A][N] of (H, W, 3) uint8, the frames of each arm; `history_xyz` (16, 3) and `history_rot` (16, 3, 3) are
        the clip's. `noise` has a scene key an arm (the same one for arms that share their noise); `how` goes to
        `rollout`, with `reasoning` and `flow_noise` over all arms. The pictures and words with which all arms begin are
        read once. In bfloat16 a batch of another shape rounds differently: compare arms of one call.
        """
        count = len(arms)
        history_xyz, history_rot = np.asarray(history_xyz), np.asarray(history_rot)
        joint = self.rollout(
            arms,
            np.broadcast_to(history_xyz, (count, *history_xyz.shape)),
            np.broadcast_to(history_rot, (count, *history_rot.shape)),
            noise,
            **how,
        )
        return [joint.scene(number) for number in range(count)]

    def _check(self, history_xyz, history_rot, num_samples, max_generation_length, diffusion_steps) -> None:
        if num_samples < 1:
            raise InputError(f"num_traj_samples is {num_samples}: at least one path must be sampled")
        if max_generation_length < 1:
            raise InputError(f"max_generation_length is {max_generation_length}: it must be at least 1")
        if diffusion_steps is not None and diffusion_steps < 1:
            raise InputError(f"diffusion_steps is {diffusion_steps}: it must be at least 1")
        if not (np.isfinite(history_xyz).all() and np.isfinite(history_rot).all()):
            raise InputError("the ego history holds NaN or infinity; choose another t0 or repair the ego motion")

    def _check_finite(self, value: torch.Tensor | np.ndarray, what: str) -> None:
        check_finite(value, what, self.folder, self.network.action_out_proj.weight.dtype)

    def _forced(self, reasoning: np.ndarray, rows: int) -> torch.Tensor:
        reasoning = torch.as_tensor(np.asarray(reasoning, dtype=np.int64))
        if reasoning.ndim != 2 or reasoning.shape[0] != rows or reasoning.shape[1] < 1:
            raise InputError(f"given reasoning has shape {tuple(reasoning.shape)}, expected ({rows}, length)")
        if reasoning.min() < 0 or reasoning.max() >= self.config.vocab_size:
            raise InputError("given reasoning holds token ids outside this checkpoint's vocabulary")
        return reasoning

    def physical_action(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normalised actions (..., 2) -> acceleration (...) m/s2 and curvature (...) 1/m, float64."""
        stats = {name: float(value) for name, value in self.network.action_space.named_buffers()}
        action = np.asarray(action, np.float64)
        accel = action[..., 0] * stats["accel_std"] + stats["accel_mean"]
        return accel, action[..., 1] * stats["curvature_std"] + stats["curvature_mean"]

    def _result(self, prompt, reply, states, history_xyz, history_rot, samples, seconds) -> Rollout:
        scenes = len(prompt.input_ids)
        config = self.config
        v0 = initial_speed(history_xyz, history_rot, config.dt, config.v_lambda, config.v_ridge)
        z = np.asarray(history_xyz)[:, -1, 2]
        action = states[:, -1].cpu().numpy()
        self._check_finite(action, "actions")
        accel, curvature = self.physical_action(action)
        xyz, rot = unicycle(accel, curvature, v0.repeat(samples), z.repeat(samples), config.dt)
        self._check_finite(xyz, "paths")
        rows = torch.cat([prompt.input_ids.repeat_interleave(samples, 0), reply.tokens], dim=1)
        decoded = self.tokenizer.batch_decode(rows.tolist(), skip_special_tokens=False)
        texts = [{part: extract_text(text, part) for part in TEXT_PARTS} for text in decoded]

        def split(array: np.ndarray, dtype: type | None = None) -> np.ndarray:
            return np.asarray(array, dtype).reshape(scenes, samples, *array.shape[1:])

        return Rollout(
            xyz=split(xyz, np.float32),
            rot=split(rot, np.float32),
            action=split(action),
            text=[texts[i * samples : (i + 1) * samples] for i in range(scenes)],
            complete=split(reply.complete.cpu().numpy()),
            tokens=split(reply.tokens.cpu().numpy()),
            lengths=split((reply.end_offset - prompt.input_ids.shape[1]).cpu().numpy()),
            v0=v0,
            noise=split(states[:, 0].cpu().numpy()),
            seconds=seconds,
            reply=reply,
            states=states,
        )


def load_policy(folder: str | Path, device: str = "cpu", dtype: str = "float32") -> Policy:
    """Load a checkpoint folder (config.json, safetensors, base model in `vlm/`); nothing is fetched.

    `dtype` "float32" or "bfloat16". Raises InputError when the folder is missing, incomplete or of another model.
    """
    target = torch.device(device)
    return Policy(load_checkpoint(folder, target, getattr(torch, dtype)), target)
