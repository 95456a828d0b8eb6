"""CogVideoX with VideoPainter's branch learns to carry an edited first frame through a clip with holes.

v-prediction under CogVideoX's schedule, on latents; the transformer and its branch learn together, for there is no
pretrained one. What counts is inside the holes: outside them the pipeline pastes the source's own latents.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLCogVideoX, CogVideoXDDIMScheduler
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from transformers import T5EncoderModel, T5TokenizerFast

from relane.editors.videopainter.latents import covering_mask
from relane.editors.videopainter.networks import CogvideoXBranchModel, VideoPainterTransformer, token_mask
from simworld.learning import autoencoder
from simworld.learning.painting import batches, unit
from simworld.learning.pictures import ALL, CLIP_FRAMES, PAINT_SIZE
from simworld.tiny import cogvideox, text

WIDTHS = (16, 32, 48, 64)
NETWORK = cogvideox.NETWORK | {
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "sample_width": PAINT_SIZE[1] // 8,
    "sample_height": PAINT_SIZE[0] // 8,
    "sample_frames": CLIP_FRAMES,
    "max_text_seq_length": 16,
}
LAYERS, BRANCH_LAYERS = 7, 2
TEXT_DROPPED = 0.1  # share of clips without a text, so that guidance has something to lead away from
INSIDE = 3.0  # weight of a latent in a hole; outside it is OUTSIDE
OUTSIDE = 0.1


class Clips:
    """Rendered clips on the training device: video (N, T, h, w, 3) uint8, marking and hole (N, T, h, w) bool."""

    def __init__(self, rows: dict[str, np.ndarray], device: torch.device) -> None:
        as_tensor = {name: torch.from_numpy(np.ascontiguousarray(values)).to(device) for name, values in rows.items()}
        self.video, self.marking, self.hole = (as_tensor[name] for name in ("video", "marking", "hole"))
        self.asked, self.device = as_tensor["asked"], device

    def frames(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Single frames (B, 3, h, w), a quarter with a hole, and the weights of their error (B, 1, h, w)."""
        clip = torch.randint(len(self.video), (size,), device=self.device)
        t = torch.randint(self.video.shape[1], (size,), device=self.device)
        cut = torch.rand(size, 1, 1, 1, device=self.device) < 0.25
        x = torch.where(cut & self.hole[clip, t][:, None], 0.0, unit(self.video[clip, t]))
        return x, autoencoder.line_weight(self.marking[clip, t])

    def clips(self, size: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips (B, 3, T, h, w), every fourth batch with holes, and weights (B, 1, T, h, w)."""
        chosen = torch.randint(len(self.video), (size,), device=self.device)
        x = video_tensor(self.video[chosen])
        if step % 4 == 0:
            x = torch.where(self.holes(chosen), 0.0, x)
        weight = autoencoder.line_weight(self.marking[chosen].flatten(0, 1))
        return x, weight.view(size, -1, 1, *weight.shape[-2:]).transpose(1, 2)

    def holes(self, chosen: torch.Tensor | slice) -> torch.Tensor:
        """Holes (B, 1, T, h, w) bool of clips whose first frame is given whole."""
        holes = self.hole[chosen][:, None].clone()
        holes[:, :, 0] = False
        return holes


def video_tensor(video: torch.Tensor) -> torch.Tensor:
    """(B, T, h, w, 3) uint8 to (B, 3, T, h, w) float32 in [-1, 1]."""
    return video.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def flat_autoencoder(seed: int) -> AutoencoderKL:
    """A picture autoencoder of the video autoencoder's widths, which the latter starts from."""
    from simworld.tiny import flux_fill

    with text.seeded(seed):
        return flux_fill.autoencoder(WIDTHS)


def video_autoencoder(seed: int) -> AutoencoderKLCogVideoX:
    """CogVideoX's autoencoder, 8 x 8 x 4."""
    with text.seeded(seed):
        return AutoencoderKLCogVideoX(
            block_out_channels=WIDTHS,
            latent_channels=16,
            layers_per_block=1,
            norm_num_groups=8,
            sample_height=PAINT_SIZE[0],
            sample_width=PAINT_SIZE[1],
            temporal_compression_ratio=4,
            scaling_factor=1.0,
        )


class Painter(torch.nn.Module):
    """Transformer and branch as one module, for one optimiser."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with text.seeded(seed):
            self.transformer = VideoPainterTransformer(**NETWORK, num_layers=LAYERS).float()
            self.branch = CogvideoXBranchModel(**NETWORK, num_layers=BRANCH_LAYERS).float()


@dataclass
class Latents:
    """Scaled latents in float16, (N, L, 16, h, w): of the clips, of their first frames (N, 1, ...), of the clips with
    holes; masks (N, L, 1, h, w) bool; what each shows (N,)."""

    clip: torch.Tensor
    first: torch.Tensor
    holed: torch.Tensor
    mask: torch.Tensor
    asked: torch.Tensor


@torch.no_grad()
def encode(vae: AutoencoderKLCogVideoX, data: Clips, autocast) -> Latents:
    """All clips through the autoencoder, once; its config's scaling factor is set by the way."""
    parts: dict[str, list] = {"clip": [], "first": [], "holed": [], "mask": []}
    for part in batches(len(data.video), 8):
        x, holes = video_tensor(data.video[part]), data.holes(part)
        with autocast:
            each = {
                "clip": vae.encode(x).latent_dist.mean,
                "first": vae.encode(x[:, :, :1]).latent_dist.mean,
                "holed": vae.encode(torch.where(holes, 0.0, x)).latent_dist.mean,
            }
        for name, latents in each.items():
            parts[name].append(latents.transpose(1, 2).half())
        parts["mask"].append(torch.cat([covering_mask(one[None].float()) for one in holes]) > 0)
    joined = {name: torch.cat(values) for name, values in parts.items()}
    deviation = joined["clip"].float().std().item()
    vae.register_to_config(scaling_factor=1 / deviation)
    for name in ("clip", "first", "holed"):
        joined[name] /= deviation
    return Latents(**joined, asked=data.asked)


@torch.no_grad()
def prompts(tokenizer: T5TokenizerFast, encoder: T5EncoderModel, device: torch.device) -> torch.Tensor:
    """Embeddings (9, N_t, width) of the eight captions and of the empty text, as the pipeline makes them."""
    captions = [*(attributes.prompt() for attributes in ALL), ""]
    length = NETWORK["max_text_seq_length"]
    ids = tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    return encoder(ids)[0].to(device)


class Loss:
    """The loss of a random batch; holds what does not change from step to step."""

    def __init__(self, painter: Painter, data: Latents, texts: torch.Tensor, autocast) -> None:
        self.painter, self.data, self.texts, self.autocast = painter, data, texts, autocast
        scheduler = CogVideoXDDIMScheduler(**cogvideox.SCHEDULER)
        self.kept = scheduler.alphas_cumprod.float().to(texts.device)
        grid = (NETWORK["sample_height"] // 2, NETWORK["sample_width"] // 2)
        self.rotary = get_3d_rotary_pos_embed(
            NETWORK["attention_head_dim"], ((0, 0), grid), grid, data.clip.shape[1], device=texts.device
        )

    def __call__(self, size: int) -> tuple[torch.Tensor, dict]:
        """Loss of `size` clips, and the mean squared error of their clean latents in the holes."""
        data, device = self.data, self.texts.device
        chosen = torch.randint(len(data.clip), (size,), device=device)
        clean, mask = data.clip[chosen].float(), data.mask[chosen].float()
        # A painted first frame is less exact than a rendered one.
        first = data.first[chosen].float() + 0.15 * torch.rand(size, 1, 1, 1, 1, device=device) * torch.randn_like(
            data.first[chosen], dtype=torch.float32
        )
        image = F.pad(first, (0, 0, 0, 0, 0, 0, 0, clean.shape[1] - 1))
        t = torch.randint(len(self.kept), (size,), device=device)
        kept = self.kept[t].view(-1, 1, 1, 1, 1)
        noisy = kept.sqrt() * clean + (1 - kept).sqrt() * torch.randn_like(clean)
        dropped = torch.rand(size, device=device) < TEXT_DROPPED
        words = self.texts[torch.where(dropped, len(ALL), data.asked[chosen])]
        condition = torch.cat([data.holed[chosen].float(), mask], 2)
        with self.autocast:
            samples = self.painter.branch(noisy, words, condition, t, self.rotary)
            predicted, _ = self.painter.transformer(
                torch.cat([noisy, image], 2), words, t, self.rotary, branch_samples=samples, token_mask=token_mask(mask)
            )
        made = kept.sqrt() * noisy - (1 - kept).sqrt() * predicted.float()
        off = (made - clean).square()
        # Weights of the signal-to-noise ratio, capped (Hang et al., "Min-SNR", 2023), in terms of the clean latents.
        weight = (1 / (1 - kept).clamp(min=1e-4)).clamp(max=20.0) * (OUTSIDE + INSIDE * mask)
        inside = (off * mask).sum() / (mask.sum() * off.shape[2])
        return (weight * off).mean(), {"inside": inside.detach()}
