"""One window from noise to latents: branch, transformer, guidance, scheduler step, the background's own latents."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

from relane.editors.videopainter.background import Background
from relane.editors.videopainter.latent_cache import LatentCache
from relane.editors.videopainter.networks import joint_mask, token_mask
from relane.editors.videopainter.options import Options
from relane.editors.videopainter.original import dynamic_scale
from relane.editors.videopainter.windows import WindowSchedule
from relane.io.timer import Timer

# Called with a name such as "w0_s1_model_out" and a tensor, for comparison with reference outputs.
Trace = Callable[[str, torch.Tensor], None]


class GeneratorFn(Protocol):
    """Gives the generator for a draw in the window that starts at frame `start`, by purpose."""

    def __call__(self, start: int, purpose: str) -> torch.Generator: ...


@dataclass
class Window:
    """One window, ready to be denoised. Latents are (1, L, 16, h, w), `mask` (1, L, 1, h, w), 1 = inpaint."""

    name: str
    image_latents: torch.Tensor
    video_latents: torch.Tensor | None
    noise: torch.Tensor
    mask: torch.Tensor
    masked_latents: torch.Tensor
    video: torch.Tensor  # (1, 3, F, H, W) float32 in [-1, 1]
    pixel_mask: torch.Tensor  # (1, 1, F, H, W) float32


@dataclass
class PreviousWindowState:
    """What a window leaves to the next: every block's output at its last step, and its joint token mask."""

    states: list[torch.Tensor]
    mask: torch.Tensor


@dataclass
class EditState:
    """One clip on its way. `start` is what the next window starts from: an image (1, 3, H, W) float32 in [-1, 1], or
    latents (1, 1, 16, h, w)."""

    options: Options
    schedule: WindowSchedule
    text: torch.Tensor  # (rows, N_t, width); rows is 2 under guidance: negative prompt, prompt
    generator_fn: GeneratorFn
    rotary: tuple[torch.Tensor, torch.Tensor] | None
    trace: Trace
    timer: Timer
    latent_cache: LatentCache | None
    start: torch.Tensor
    guidance_per_step: list[float] = field(default_factory=list)
    # What the prompt changed in the prediction, at the last step that also ran the negative prompt.
    difference: torch.Tensor | None = None


@dataclass(frozen=True)
class Denoiser:
    """The two transformers and the scheduler's configuration."""

    transformer: Any
    branch: Any
    scheduler_config: dict

    def __call__(
        self,
        state: EditState,
        index: int,
        window: Window,
        previous: PreviousWindowState | None,
        keep: bool,
        on_step: Callable[[], None],
    ) -> tuple[torch.Tensor, PreviousWindowState | None]:
        """All steps of one window: latents (1, L, 16, h, w), and if `keep` what the next one may look at."""
        options, rows = state.options, len(state.text)
        scheduler, timesteps = self._scheduler(options, window.noise.device)
        latents = window.noise * scheduler.init_noise_sigma
        if options.strength < 1:
            latents = scheduler.add_noise(window.video_latents, window.noise, timesteps[:1])
        state.trace(f"{window.name}_latents0", latents)
        tokens = token_mask(window.mask, self.transformer.config.patch_size).expand(rows, -1)
        own_mask = joint_mask(tokens, state.text.shape[1])
        sampler = state.generator_fn(state.schedule.starts[index], "sampler")
        unguided = skipped_steps(len(timesteps), options.guidance_skip) if options.do_classifier_free_guidance else ()
        background = Background(tokens[0]) if options.background_refresh else None
        if self.transformer.is_cache_enabled:
            self.transformer._reset_stateful_cache()

        old, states = None, None
        for step, timestep in enumerate(timesteps):
            name, last = f"{window.name}_s{step}", step == len(timesteps) - 1
            seen = _previous_at(options, previous, own_mask, step)
            text = state.text[-1:] if step in unguided else state.text
            full = background is None or step % options.background_refresh == 0
            prediction, states = self._predict(
                state, name, window, latents, timestep, text, tokens, seen, keep and last, background, full
            )
            prediction = apply_cfg(state, prediction, timestep)
            if isinstance(scheduler, CogVideoXDPMScheduler):
                before = timesteps[step - 1] if step else None
                stepped, old = scheduler.step(prediction, old, timestep, before, latents, eta=0.0, generator=sampler)
            else:
                stepped = scheduler.step(prediction, timestep, latents, eta=0.0, generator=sampler).prev_sample
            latents = stepped.to(latents.dtype)
            if options.replace_gt:
                known = window.video_latents
                if not last:
                    known = scheduler.add_noise(known, window.noise, timesteps[step + 1 : step + 2])
                latents = (1 - window.mask) * known + window.mask * latents
            state.trace(f"{name}_latents_after", latents)
            on_step()
        return latents, PreviousWindowState(states, own_mask) if keep else None

    def _predict(
        self,
        state: EditState,
        name: str,
        window: Window,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        text: torch.Tensor,
        tokens: torch.Tensor,
        previous: PreviousWindowState,
        keep: bool,
        background: Background | None,
        full: bool,
    ) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Branch and transformer at one step: prediction (rows, L, 16, h, w) and, if `keep`, every block's output.

        `rows` is that of `text`: both prompts, or the prompt alone in a step that skips guidance. A step that is not
        `full` computes the hole alone, and no branch, whose samples the background takes.
        """
        options, rows = state.options, len(text)
        noisy = torch.cat([latents] * rows)
        timesteps, samples = timestep.expand(rows), []
        if full:
            condition = torch.cat([torch.cat([window.masked_latents, window.mask], dim=2)] * rows)
            samples = self.branch(noisy, text, condition, timesteps, state.rotary, options.conditioning_scale)
        # Steps with and without the negative prompt have batches of their own, and so caches of their own.
        with self.transformer.cache_context("cond_uncond" if rows > 1 else "cond"):
            prediction, states = self.transformer(
                torch.cat([noisy, torch.cat([window.image_latents] * rows)], dim=2),
                text,
                timesteps,
                state.rotary,
                branch_samples=samples,
                token_mask=tokens[-rows:],
                mask_add=options.mask_add,
                add_first=options.add_first,
                previous_states=[one.to(noisy.device) for one in previous.states] or None,
                memory_mask=previous.mask[-rows:],
                previous_weight=options.prev_clip_weight,
                keep_states=keep,
                background=background,
                full=full,
            )
        state.trace(f"{name}_timestep", timesteps)
        for number, sample in enumerate(samples):
            state.trace(f"{name}_branch{number}", sample)
        state.trace(f"{name}_model_out", prediction)
        return prediction, states

    def _scheduler(
        self, options: Options, device: torch.device
    ) -> tuple[CogVideoXDPMScheduler | CogVideoXDDIMScheduler, torch.Tensor]:
        """A fresh scheduler and its timesteps; with strength below 1 the first ones are left out."""
        kind = CogVideoXDPMScheduler if options.sampler == "dpm" else CogVideoXDDIMScheduler
        scheduler = kind.from_config(self.scheduler_config, timestep_spacing="trailing")
        scheduler.set_timesteps(options.num_inference_steps, device=device)
        return scheduler, scheduler.timesteps[options.num_inference_steps - options.steps :]


def _previous_at(
    options: Options, previous: PreviousWindowState | None, own_mask: torch.Tensor, step: int
) -> PreviousWindowState:
    """What a step remembers: the window before, or nothing but the window's own masked tokens."""
    if previous is None or options.prev_clip_weight <= 0:
        return PreviousWindowState([], own_mask)
    overwritten = options.previous_mask == "overwritten" and step > 0
    return PreviousWindowState(previous.states, own_mask if overwritten else previous.mask)


def apply_cfg(state: EditState, prediction: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance in float32: (rows, L, 16, h, w) to (1, L, 16, h, w).

    uncond + scale * (cond - uncond), Ho and Salimans 2022; in a step that skipped the negative prompt the difference is
    that of the last step that did not (Castillo et al. 2023, "Adaptive Guidance"). "original_dynamic": see
    `original.dynamic_scale`.
    """
    options = state.options
    scale = options.guidance_scale
    if options.guidance == "original_dynamic":
        scale = dynamic_scale(scale, timestep.item(), options.num_inference_steps)
    state.guidance_per_step.append(scale)
    prediction = prediction.float()
    if not options.do_classifier_free_guidance:
        return prediction
    if len(prediction) == 1:
        return prediction + (scale - 1) * state.difference
    unconditional, conditional = prediction.chunk(2)
    state.difference = conditional - unconditional
    return unconditional + scale * state.difference


def skipped_steps(steps: int, share: float) -> frozenset[int]:
    """The steps that skip the negative prompt: `share` of all, spread evenly, never the first."""
    count = min(int(steps * share), steps - 1)
    return frozenset(number * (steps - 1) // count for number in range(1, count + 1))
