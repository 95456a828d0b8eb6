"""Section `video`: the edited video, by VideoPainter on CogVideoX (scripts/edit_video.py)."""

from typing import Literal

from relane.config.option import Amount, Count, Dtype, Pixels, Positive, Section, Share, ShareAbove0, option
from relane.config.sections.encoding import Encoding
from relane.config.sections.speed import Speed
from relane.errors import InputError


class Mode(Section):
    """Whose way of running VideoPainter."""

    mode: Literal["ours", "exact"] = option(
        "ours",
        "`ours`: windows to the very end, aligned and faded into each other, guidance as asked for, masks by any "
        "coverage; `exact`: the original, quirks included.",
    )


class Denoising(Section, key="video"):
    """What the pipeline takes, in either mode."""

    num_inference_steps: Positive = option(70, "Denoising steps a window.")
    guidance_scale: Amount = option(6.0, "Classifier-free guidance; at most 1: off.")
    strength: ShareAbove0 = option(1.0, "Below 1: start from the noised source, with that share of the steps.")
    stride: int = option(
        40, "Frames from window to window at most; a multiple of 4 keeps windows aligned.", unit="frames", ge=1
    )
    conditioning_scale: Amount = option(1.0, "Weight of VideoPainter's branch.")
    prev_clip_weight: Share = option(0.0, "Attention to the previous window's last step.")
    replace_gt: bool = option(True, "Paste the background's own latents after every step.")
    mask_add: bool = option(True, "The branch acts on the background's tokens only.")
    first_frame_gt: bool = option(True, "Keep the repainted first frame as it is.")
    hole_value: float = option(
        0.0,
        "What the branch sees in the hole: 0 grey, as at the original's inference; -1 black, as in its training.",
        ge=-1,
        le=1,
    )
    sampler: Literal["dpm", "ddim"] = option("dpm", "CogVideoX's DPM or DDIM scheduler.")
    first_block_cache: Amount = option(
        0.0,
        "Threshold of diffusers' FirstBlockCache, which leaves out blocks where little changes; 0: off. Refused in "
        "mode `exact`.",
    )
    guidance_skip: float = option(
        0.0,
        "Share of the steps that leave out the negative prompt and reuse what it changed before. Refused in mode "
        "`exact`.",
        ge=0,
        lt=1,
    )
    background_refresh: Count = option(
        0,
        "Steps from one look at the background to the next: in between only the hole is computed, and attends to what "
        "the background was; 0: every step. 3 takes 0.53 of the time where the hole is a quarter of the picture, and "
        "up to 19 GB of memory more while denoising, at full size. Refused in mode `exact`.",
    )
    vae_tiling: bool = option(False, "Run the VAE in tiles: less memory.")

    @property
    def steps(self) -> int:
        """Denoising steps that a window takes."""
        return int(self.num_inference_steps * self.strength)

    def check(self) -> None:
        """There must be a step to do, and what leaves out work must not meet what needs all of it."""
        if self.steps < 1:
            raise InputError("video.num_inference_steps times video.strength must leave at least one step")
        if self.first_block_cache > 0 and self.prev_clip_weight > 0:
            # A skipped block has no output of its own to remember.
            raise InputError(
                "video.first_block_cache and video.prev_clip_weight cannot be used together: set one of them to 0"
            )
        if self.guidance_skip > 0 and self.prev_clip_weight > 0:
            # A step without the negative prompt leaves half of the memory out.
            raise InputError(
                "video.guidance_skip and video.prev_clip_weight cannot be used together: set one of them to 0"
            )
        if self.background_refresh > 0 and not (self.replace_gt and self.mask_add):
            # Only then is what the networks say of the background thrown away, and the branch not needed in the hole.
            raise InputError("video.background_refresh needs video.replace_gt and video.mask_add: set both to true")
        if self.background_refresh > 0 and (self.first_block_cache > 0 or self.prev_clip_weight > 0):
            raise InputError(
                "video.background_refresh cannot be used with video.first_block_cache or video.prev_clip_weight: set "
                "one to 0"
            )

    def check_exact(self) -> None:
        """Raise InputError for an option that leaves out work, because the result would not be the original's."""
        for name in ("first_block_cache", "guidance_skip", "background_refresh"):
            if getattr(self, name):
                raise InputError(
                    f"video.{name}: mode exact does every step in full; set it to 0, or video.mode to ours"
                )


class Video(Encoding, Speed, Denoising, Mode):
    """The video, by VideoPainter on CogVideoX (`scripts/edit_video.py`)."""

    seed: int = option(42, "Part of the key of the noise, with the clip; not the instruction, so that arms share it.")
    negative_prompt: str = option("", "What guidance leads away from.")
    id_lora_scale: Amount = option(1.0, "Scale of the VideoPainterID LoRA.")
    fit: Literal["crop", "letterbox", "squash"] = option(
        "crop",
        "What of the frame the model sees: a crop of its own shape around the region, all with bars, or all squashed "
        "as in the original.",
    )
    mask_feather: Pixels = option(8, "Pixels over which the result fades into the source.")
    color_match: bool = option(False, "Shift the result's colour so that it meets the source at the seam.")
    share_posteriors: bool = option(
        True,
        "Keep the VAE's statistics of the source's windows in `results/posterior_cache` for the other instructions on "
        "the clip (4.5 MB a window of CogVideoX-5b in bfloat16). The result is the same.",
        rerun=False,
    )
    offload: Literal["none", "model", "sequential"] = option(
        "none", "What waits in host memory: slower, smaller.", rerun=False
    )
    dtype: Dtype = option("bfloat16", "Of weights and activations.")

    def check(self) -> None:
        """The pipeline's own, and what mode exact and 8-bit products exclude."""
        if self.fp8 and (self.mode == "exact" or self.offload != "none"):
            raise InputError(
                "video.fp8: not in mode exact, whose result it changes, and not with video.offload; switch one of them "
                "off"
            )
        if self.mode == "exact":
            self.check_exact()
        super().check()

    def check_id_lora(self, videopainter_id: str) -> None:
        """Raise InputError for options that VideoPainterID's LoRA excludes. videopainter_id: its checkpoint, or ""."""
        if self.fuse_projections and videopainter_id:
            raise InputError(
                "video.fuse_projections: the LoRA of checkpoints.videopainter_id sits on the projections; switch one "
                "of them off"
            )
        if self.background_refresh and videopainter_id:
            raise InputError(
                "video.background_refresh: not with checkpoints.videopainter_id, which has a memory of its own; set it "
                "to 0, or leave that blank"
            )
