"""FLUX.1-Fill-dev's networks (12 B, T5-XXL, CLIP-L, autoencoder), and pictures of noise with a road to repaint."""

import numpy as np
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from stages.build import RESOURCES, on_device
from stages.measure import Bench

TRANSFORMER = {
    "in_channels": 384,
    "out_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}
T5 = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
CLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
TINY_TRANSFORMER = TRANSFORMER | {
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 64,
    "pooled_projection_dim": 64,
    "axes_dims_rope": (4, 14, 14),
}
TINY_VAE = VAE | {"block_out_channels": (16, 16, 32, 32), "layers_per_block": 1, "norm_num_groups": 8}
TINY_T5 = T5 | {"d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2}
TINY_CLIP = CLIP | {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "projection_dim": 64,
}
PROMPT = "road with double yellow solid lane markings"


def parts(bench: Bench) -> dict:
    """`FluxFillPipeline`'s parts by name, on the device."""
    clip = CLIPTokenizer.from_pretrained(RESOURCES / "flux_fill/tokenizer")
    t5 = T5TokenizerFast.from_pretrained(RESOURCES / "flux_fill/tokenizer_2")
    transformer, vae = bench.pick((TRANSFORMER, VAE), (TINY_TRANSFORMER, TINY_VAE))
    words, sentences = bench.pick((CLIP, T5), (TINY_CLIP, TINY_T5))
    makers = {
        "transformer": lambda: FluxTransformer2DModel(**transformer),
        "vae": lambda: AutoencoderKL(**vae),
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**words, eos_token_id=clip.eos_token_id)),
        "text_encoder_2": lambda: T5EncoderModel(T5Config(**sentences)),
    }
    networks = {name: on_device(make, bench.device, bench.dtype) for name, make in makers.items()}
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(RESOURCES / "flux_fill/scheduler")
    return {"scheduler": scheduler, "tokenizer": clip, "tokenizer_2": t5, **networks}


def pictures(bench: Bench, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """`count` frames (H, W, 3) uint8 of noise and the mask (H, W) bool of their lower half: 480x720."""
    height, width = bench.pick((480, 720), (64, 96))
    draw = np.random.default_rng(0)
    mask = np.zeros((height, width), bool)
    mask[height // 2 :] = True
    return [draw.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)], mask
