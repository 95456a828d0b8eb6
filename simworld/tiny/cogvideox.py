"""A tiny random CogVideoX image-to-video checkpoint in the layout of CogVideoX-5b-I2V: 17 frames of 128x192."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from relane.io.files import atomic_folder

# What the branch must share with the transformer (simworld.tiny.videopainter reads it).
NETWORK = {
    "num_attention_heads": 4,
    "attention_head_dim": 16,
    "in_channels": 32,
    "out_channels": 16,
    "time_embed_dim": 64,
    "text_embed_dim": 32,
    "sample_width": 24,
    "sample_height": 16,
    "sample_frames": 17,
    "max_text_seq_length": 32,
    "use_rotary_positional_embeddings": True,
    "use_learned_positional_embeddings": True,
}
# The released checkpoint's noise schedule.
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "snr_shift_scale": 1.0,
    "timestep_spacing": "trailing",
}
WORDS = """
road lane line lines marking markings boundary left right single double triple white yellow solid dashed dotted broken
with a an the of to and in on into change make replace from scene driving highway street asphalt surface clear empty
car cars vehicle vehicles truck day night rain sun photo realistic video front camera view no none
"""
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"-()/_"


def tokenizer() -> T5TokenizerFast:
    """A T5 tokenizer over the words of lane prompts, with single characters for every other word."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [(f"▁{word}", -1.0) for word in sorted(set(WORDS.split()))]
    pieces += [(character, -6.0) for character in CHARACTERS]
    pieces += [(f"<extra_id_{index}>", 0.0) for index in range(99, -1, -1)]
    return T5TokenizerFast(vocab=pieces, model_max_length=NETWORK["max_text_seq_length"])


def text_encoder(vocabulary: int) -> T5EncoderModel:
    """A random T5 encoder of the width that the transformer expects."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=NETWORK["text_embed_dim"],
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        is_encoder_decoder=False,
        use_cache=False,
    )
    return T5EncoderModel(config).eval()


def save(
    vae: AutoencoderKLCogVideoX,
    network: CogVideoXTransformer3DModel,
    encoder: T5EncoderModel,
    words: T5TokenizerFast,
    folder: Path,
) -> None:
    """Write the checkpoint, whole or not at all; it loads with `CogVideoXImageToVideoPipeline.from_pretrained`."""
    scheduler = CogVideoXDPMScheduler(**SCHEDULER)
    with atomic_folder(folder) as partial:
        CogVideoXImageToVideoPipeline(
            tokenizer=words, text_encoder=encoder, vae=vae, transformer=stock(network), scheduler=scheduler
        ).save_pretrained(partial, safe_serialization=True)


def stock(network: CogVideoXTransformer3DModel) -> CogVideoXTransformer3DModel:
    """The network as CogVideoX's own class, which a checkpoint names; subclasses of it have the same tensors."""
    if type(network) is CogVideoXTransformer3DModel:
        return network
    with torch.device("meta"):
        plain = CogVideoXTransformer3DModel.from_config(network.config)
    plain.load_state_dict(network.state_dict(), assign=True)
    return plain


def build(folder: Path, seed: int = 0) -> None:
    """Write a random checkpoint into `folder`."""
    words = tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = text_encoder(len(words))
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 16, 16),
            latent_channels=16,
            layers_per_block=1,
            norm_num_groups=4,
            sample_height=128,
            sample_width=192,
            temporal_compression_ratio=4,
            scaling_factor=0.7,
        )
        # Position tables are built in float64; a checkpoint holds one dtype.
        network = CogVideoXTransformer3DModel(**NETWORK, num_layers=4).float()
    save(vae, network, encoder, words, folder)
