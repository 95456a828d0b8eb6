"""VideoPainter for any length: encode, denoise and decode one window at a time and join them.

Only the frames of one window, its latents and what is carried to the next window are held, so that peak memory
does not grow with the clip. `Options` says which of the original's ways are followed.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, FirstBlockCacheConfig
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import get_resize_crop_region_for_grid
from diffusers.utils.torch_utils import randn_tensor
from tqdm import tqdm

from relane.editors.videopainter import latents as codec
from relane.editors.videopainter import original
from relane.editors.videopainter.denoise import Denoiser, EditState, GeneratorFn, PreviousWindowState, Trace, Window
from relane.editors.videopainter.latent_cache import LatentCache
from relane.editors.videopainter.networks import CogvideoXBranchModel, VideoPainterTransformer
from relane.editors.videopainter.offload import Parked
from relane.editors.videopainter.options import Options
from relane.editors.videopainter.windows import FRAMES_PER_LATENT, WindowSchedule, latent_frames, ramp
from relane.errors import InputError
from relane.io.timer import Timer
from relane.models.finite import check_finite, origin

# Frames (F, H, W, 3) uint8 and masks (F, H, W) bool, True = inpaint, of the frames from `start` to `stop`.
Reader = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


@dataclass
class VideoPainter:
    """The models of one checkpoint on one device; `edit` runs a clip through them.

    `offload`: "none" keeps all on the device; "model" moves each there while it works; "sequential" does so block
    by block for the two transformers (least memory, slowest). On the CPU all three are the same.
    """

    transformer: VideoPainterTransformer
    branch: CogvideoXBranchModel
    vae: AutoencoderKLCogVideoX
    scheduler_config: dict
    device: torch.device
    offload: str = "none"

    def __post_init__(self) -> None:
        self.transformer.eval()
        self.branch.eval()
        self.vae.eval()
        self._parked: dict[int, Parked] = {}
        self._grouped = self.offload == "sequential" and self.device.type != "cpu"
        if self._grouped:
            from diffusers.hooks import apply_group_offloading

            for model in (self.transformer, self.branch):
                apply_group_offloading(model, self.device, offload_type="block_level", num_blocks_per_group=1)
        elif self.offload == "none" or self.device.type == "cpu":
            for model in (self.transformer, self.branch, self.vae):
                model.to(self.device)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that the checkpoint paints."""
        config = self.transformer.config
        return config.sample_height * codec.SPATIAL, config.sample_width * codec.SPATIAL

    @property
    def window(self) -> int:
        """Frames in one window of this checkpoint."""
        return self.transformer.config.sample_frames

    def schedule(self, frames: int, options: Options) -> WindowSchedule:
        """The windows for a clip of `frames` frames; raises InputError when it is shorter than one."""
        return options.schedule(frames, options.num_frames or self.window)

    @torch.no_grad()
    def edit(
        self,
        read: Reader,
        frames: int,
        image: np.ndarray,
        prompt: torch.Tensor,
        negative: torch.Tensor | None,
        options: Options,
        generator_fn: GeneratorFn,
        trace: Trace = lambda name, tensor: None,
        timer: Timer | None = None,
        latent_cache: LatentCache | None = None,
    ) -> Iterator[np.ndarray]:
        """Paint a clip; yields pieces (n, H, W, 3) float32 in [0, 1], in order, `schedule(...).frames` in all.

        `read(start, stop)` gives the source, in order of start; `image` (any, any, 3) uint8 is the edited first
        frame; `prompt` and `negative` (1, N_t, width) are text embeddings, `negative` needed when
        guidance_scale > 1; `latent_cache` keeps what other instructions on the clip can use. Raises InputError for
        clips shorter than one window.
        """
        schedule = self.schedule(frames, options)
        state = EditState(
            options,
            schedule,
            self._text(prompt, negative, options),
            generator_fn,
            self._rotary(options, schedule.length),
            trace,
            timer or Timer(self.device),
            latent_cache,
            start=codec.video_tensor(image[None], *self.size)[:, :, 0],
        )
        self._set_cache(options)
        join = self._fade_windows if options.join == "pixel_ramp" else self._average_latents
        yield from join(state, read)
        trace("guidance_scale_per_step", torch.tensor(state.guidance_per_step, dtype=torch.float64))

    # Joining

    def _fade_windows(self, state: EditState, read: Reader) -> Iterator[np.ndarray]:
        """Decode each window apart; where windows overlap the new one fades in. Yields what is final."""
        pending = np.zeros((0, *self.size, 3), np.float32)
        for index, latents, window in self._paint(state, read):
            with state.timer("decode"), self._working(self.vae):
                painted = np.concatenate(list(codec.decode(self.vae, latents)))
            overlap = len(pending)
            fade_in = ramp(overlap)[:, None, None, None]
            painted[:overlap] = (1 - fade_in) * pending + fade_in * painted[:overlap]
            step = state.schedule.step(index)
            if not step:
                yield painted
                return
            if state.options.handover == "frame":
                state.start = _composite(painted[step], window, step)
            # A copy, so that the window itself can be freed.
            pending = painted[step:].copy()
            yield painted[:step]

    def _average_latents(self, state: EditState, read: Reader) -> Iterator[np.ndarray]:
        """Average the windows' latents where they overlap and decode the whole, piece by piece."""
        total = count = None
        for index, latents, _ in self._paint(state, read):
            if total is None:
                total = latents.new_zeros(1, state.schedule.latents, *latents.shape[2:])
                count = torch.zeros_like(total)
            start = state.schedule.latent_starts[index]
            total[:, start : start + latents.shape[1]] += latents
            count[:, start : start + latents.shape[1]] += 1
        final = total / count
        state.trace("final_latents", final)
        pieces = codec.decode(self.vae, final)
        while True:
            with state.timer("decode"), self._working(self.vae):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def _paint(self, state: EditState, read: Reader) -> Iterator[tuple[int, torch.Tensor, Window]]:
        """Yield each window's number, final latents and inputs, in order."""
        schedule, options = state.schedule, state.options
        denoise = Denoiser(self.transformer, self.branch, self.scheduler_config)
        previous: PreviousWindowState | None = None
        with tqdm(total=options.steps * len(schedule.starts), desc="denoise", disable=None, leave=False) as progress:
            for index, start in enumerate(schedule.starts):
                with state.timer("read"):
                    frames, masks = read(start, start + schedule.length)
                with state.timer("encode"), self._working(self.vae):
                    window = self._encode(state, index, frames, masks)
                keep = options.prev_clip_weight > 0 and schedule.step(index) > 0
                with state.timer("denoise"), self._working(self.transformer), self._working(self.branch):
                    latents, previous = denoise(state, index, window, previous, keep, progress.update)
                self._check(latents, index)
                if previous is not None and self.offload != "none":
                    previous.states = [one.cpu() for one in previous.states]
                if options.handover == "latent" and schedule.step(index):
                    position = (
                        latents.shape[1] - 1 - max(schedule.length - schedule.step(index), 0) // FRAMES_PER_LATENT
                    )
                    state.start = latents[:, position : position + 1]
                yield index, latents, window

    def _check(self, latents: torch.Tensor, index: int) -> None:
        """The transformers' answer must be finite; their weights were looked at one by one when they were read."""
        folders = " and ".join(dict.fromkeys(origin(network) for network in (self.transformer, self.branch)))
        ways = "fp8: false, attention_backend: '', compile: false, guidance_skip: 0"
        check_finite(latents, f"painted latents of window {index}", folders, self.transformer.dtype, ways)

    # One window

    def _encode(self, state: EditState, index: int, frames: np.ndarray, masks: np.ndarray) -> Window:
        """Pixels to latents. The order of the draws is the original's."""
        options, name, start = state.options, f"w{index}", state.schedule.starts[index]
        height, width = self.size
        if options.background == "black_holes":
            frames = original.black_holes(frames, masks, keep_first=index == 0 and options.first_frame_gt)
        video = codec.video_tensor(frames, height, width)
        mask = codec.mask_tensor(masks, height, width)
        from_image = state.start.ndim == 4
        shows_start = from_image and options.first_frame_gt
        of_source = options.background == "source" or not shows_start
        if shows_start:
            mask[:, :, 0] = 0
        if not of_source:
            video[:, :, 0] = state.start

        latent_count = latent_frames(state.schedule.length)
        first = state.start
        if from_image:
            # Encoded as one image, in the strides of a (batch, channel, frame, ...) slice: bf16 kernels depend on them.
            image = codec.statistics(self.vae, state.start.unsqueeze(2)[0].unsqueeze(0))
            first = codec.sample(self.vae, image, state.generator_fn(start, "image"))
        image_latents = torch.cat([first, first.new_zeros(1, latent_count - 1, *first.shape[2:])], dim=1)

        video_latents = None
        # The original always draws here; keyed draws need not.
        if options.replace_gt or options.strength < 1 or options.join == "latent_average":
            posterior = self._statistics(state, video, of_source)
            video_latents = codec.sample(self.vae, posterior, state.generator_fn(start, "video"))
        if shows_start and of_source:
            video[:, :, 0] = state.start
            if video_latents is not None:
                video_latents[:, :1] = first
        noise = randn_tensor(
            image_latents.shape,
            state.generator_fn(start, "noise"),
            device=image_latents.device,
            dtype=image_latents.dtype,
        )
        masked = torch.where(mask < 0.5, video, options.hole_value)
        posterior = self._statistics(state, masked, not shows_start)
        masked_latents = codec.sample(self.vae, posterior, state.generator_fn(start, "masked"))
        to_latents = codec.covering_mask if options.mask_latents == "any" else codec.nearest_mask
        latent_mask = to_latents(mask).to(image_latents)
        for key, tensor in (("image_latents", image_latents), ("noise", noise), ("mask", latent_mask)):
            state.trace(f"{name}_{key}", tensor)
        state.trace(f"{name}_masked_video_latents", masked_latents)
        if video_latents is not None:
            state.trace(f"{name}_video_latents", video_latents)
        return Window(name, image_latents, video_latents, noise, latent_mask, masked_latents, video, mask)

    def _statistics(self, state: EditState, video: torch.Tensor, of_source: bool) -> torch.Tensor:
        """The VAE's posterior of a window; one without painted pixels is shared by all instructions on the clip."""
        if state.latent_cache is not None and of_source:
            return state.latent_cache(self.vae, video)
        return codec.statistics(self.vae, video)

    # Set-up

    def _text(self, prompt: torch.Tensor, negative: torch.Tensor | None, options: Options) -> torch.Tensor:
        if not options.do_classifier_free_guidance:
            return prompt.to(self.device, self.transformer.dtype)
        if negative is None:
            raise InputError("guidance_scale above 1 needs the negative prompt's embeddings (of the empty text)")
        return torch.cat([negative, prompt]).to(self.device, self.transformer.dtype)

    def _rotary(self, options: Options, length: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Rotary tables (N_v, head width) float32 for one window."""
        config = self.transformer.config
        if not config.use_rotary_positional_embeddings:
            return None
        patch = config.patch_size
        grid = (config.sample_height // patch, config.sample_width // patch)
        base = grid if options.rotary_base == "checkpoint" else original.ROTARY_BASE
        crops = get_resize_crop_region_for_grid(grid, base[1], base[0])
        count = latent_frames(length)
        return get_3d_rotary_pos_embed(config.attention_head_dim, crops, grid, count, device=self.device)

    def _set_cache(self, options: Options) -> None:
        if self.transformer.is_cache_enabled:
            self.transformer.disable_cache()
        if options.first_block_cache > 0:
            self.transformer.enable_cache(FirstBlockCacheConfig(threshold=options.first_block_cache))
        codec.set_tiling(self.vae, options.vae_tiling)

    @contextlib.contextmanager
    def _working(self, model: torch.nn.Module) -> Iterator[None]:
        """The model on the device for the length of a `with`, when models are offloaded."""
        stays = self.offload == "none" or self.device.type == "cpu" or (self._grouped and model is not self.vae)
        if stays:
            yield
            return
        parked = self._parked.setdefault(id(model), Parked(model))
        with parked.on(self.device):
            yield


def _composite(painted: np.ndarray, window: Window, frame: int) -> torch.Tensor:
    """The next window's first frame (1, 3, H, W): what was painted inside the mask, the source outside it.

    Taking the source where it is known keeps the VAE's loss from adding up over windows.
    """
    image = torch.from_numpy(painted).permute(2, 0, 1)[None] * 2 - 1
    return torch.where(window.pixel_mask[:, :, frame] > 0.5, image, window.video[:, :, frame])
