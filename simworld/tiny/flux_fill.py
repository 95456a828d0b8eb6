"""A tiny random `FluxFillPipeline` folder: every part of FLUX.1-Fill-dev, small.

AutoencoderKL of factor 8 with 16 latent channels; CLIP and T5 with local tokenizers; a transformer that takes 384
channels (64 noisy + 64 masked-image + 256 mask, each packed 2x2) and gives 64; flow matching with FLUX's shifting.
"""

from pathlib import Path

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel

from relane.io.files import atomic_folder
from simworld.tiny import text

LATENT_CHANNELS = 16
PACKED = 4 * LATENT_CHANNELS


def autoencoder(widths: tuple[int, ...] = (16, 16, 32, 32), groups: int = 8) -> AutoencoderKL:
    """A random AutoencoderKL: (B, 3, H, W) <-> (B, 16, H/8, W/8). groups: of its norms, a divisor of every width."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=groups,
        sample_size=128,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        force_upcast=False,
    ).eval()


def transformer(
    layers: int = 1, single_layers: int = 2, heads: int = 2, text_width: int = 64
) -> FluxTransformer2DModel:
    """A random FLUX Fill transformer of `heads` heads of 32."""
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=2 * PACKED + 4 * 64,
        out_channels=PACKED,
        num_layers=layers,
        num_single_layers=single_layers,
        attention_head_dim=32,
        num_attention_heads=heads,
        joint_attention_dim=text_width,
        pooled_projection_dim=text_width,
        guidance_embeds=True,
        axes_dims_rope=(4, 14, 14),
    ).eval()


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """FLUX.1's scheduler settings."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )


def pipeline(vae: AutoencoderKL, network: FluxTransformer2DModel, seed: int) -> FluxFillPipeline:
    """A pipeline of these two and random text encoders."""
    clip, t5 = text.clip_tokenizer(), text.t5_tokenizer()
    with text.seeded(seed):
        encoders = {"text_encoder": text.clip_text_encoder(clip), "text_encoder_2": text.t5_encoder(t5)}
    return FluxFillPipeline(
        scheduler=scheduler(), vae=vae, transformer=network, tokenizer=clip, tokenizer_2=t5, **encoders
    )


def save(model: FluxFillPipeline, folder: Path) -> None:
    """Write the pipeline folder, whole or not at all."""
    with atomic_folder(folder) as partial:
        model.save_pretrained(partial)


def build(folder: Path, seed: int = 0) -> None:
    """Write the pipeline folder in float32 safetensors (3.5 MB; the same seed gives the same bytes)."""
    clip, t5 = text.clip_tokenizer(), text.t5_tokenizer()
    with text.seeded(seed):  # one stream of numbers, in this order
        model = FluxFillPipeline(
            scheduler=scheduler(),
            vae=autoencoder(),
            text_encoder=text.clip_text_encoder(clip),
            tokenizer=clip,
            text_encoder_2=text.t5_encoder(t5),
            tokenizer_2=t5,
            transformer=transformer(),
        )
    save(model, folder)
