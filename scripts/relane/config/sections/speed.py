"""Options of sections `first_frame` and `video`: ways to run the same network faster (relane.models.acceleration)."""

from relane.config.option import Section, option


class Speed(Section):
    """How networks are run. All off, which is the default, is PyTorch's own way."""

    compile: bool = option(False, "torch.compile the transformers' blocks.")
    attention_backend: str = option(
        "",
        "`flash_4` (FlashAttention-4, from the package flash-attn-4, on Hopper and Blackwell), or one of diffusers' "
        "attention dispatcher; empty: PyTorch's own.",
    )
    fuse_projections: bool = option(False, "One product for query, key and value; a LoRA is merged into the weights.")
    channels_last: bool = option(
        False,
        "Keep the VAE's weights with channels innermost, as convolutions on GPUs like them. On an H200 CogVideoX's VAE "
        "took 1.4 times as long to encode and twice as long to decode so.",
    )
    fp8: bool = option(
        False, "The blocks' products in 8-bit floats, by torchao, on cards that can. Refused in `video.mode` `exact`."
    )
