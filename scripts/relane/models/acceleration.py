"""Ways to run the same network faster, each an option of its own name that any stage with a network can offer.

`compile` and `attention_backend` change rounding at most; so do `fuse_projections` (one product in place of three) and
`channels_last` (the layout in which convolutions run fastest). `fp8` computes the blocks' products in 8-bit floats and
changes results visibly. Options that leave out work belong to a stage: `relane.config.sections.video`.
"""

import torch
from torch import nn

from relane.config.sections.speed import Speed
from relane.errors import InputError, first_line
from relane.models import flash4

# What `fuse` makes superfluous.
_SEPARATE = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")
# From here on cards multiply 8-bit floats (Ada, Hopper and later).
_FP8_CAPABILITY = (8, 9)
GRAPHS = 32  # of a block, at most


PLAIN = Speed()


def speed_up(network: nn.Module, how: Speed, device: torch.device) -> None:
    """Apply the options of a transformer (a diffusers model) in place; `device` is where it will run.

    Raises InputError for an unknown attention backend, a card or an environment without 8-bit products.
    """
    if how.attention_backend == flash4.NAME:
        flash4.use(network, device)
    elif how.attention_backend:
        try:
            network.set_attention_backend(how.attention_backend)
        except (ValueError, RuntimeError, ImportError) as error:
            raise InputError(
                f"attention_backend: {how.attention_backend!r} cannot be used here: {first_line(error)}"
            ) from None
    if how.fuse_projections:
        fuse(network)
    if how.fp8:
        quantize_fp8(network, device)
    if how.compile:
        compile_blocks(network)


def compile_blocks(network: nn.Module, backend: str = "inductor") -> None:
    """torch.compile the forward of each of the network's repeated blocks; all blocks of a class share one graph.

    The forward and not the block, as diffusers' `compile_repeated_blocks` does, so that a cache that wraps the
    forward (FirstBlockCache) decides outside of the compiled graph.
    """
    # Steps with and without the negative prompt, on all tokens and on the hole's: each has a graph, made once for its
    # first size and once for any. Past the limit torch falls back to running block by block.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
    for module in network.modules():
        if type(module).__name__ in network._repeated_blocks:
            module.forward = torch.compile(module.forward, backend=backend)


def fuse(network: nn.Module) -> None:
    """One product for query, key and value in every attention whose class has it; the separate weights are dropped.

    Raises InputError when an adapter sits on the separate projections: it must be merged first.
    """
    if getattr(network, "peft_config", None):
        raise InputError("fuse_projections: a LoRA sits on the projections; merge it first, or switch this off")
    network.fuse_qkv_projections()
    for module in network.modules():
        if getattr(module, "fused_projections", False):
            for name in _SEPARATE:
                if getattr(module, name, None) is not None:
                    delattr(module, name)


def channels_last(vae: nn.Module) -> None:
    """Keep the weights of every convolution with its channels innermost; activations follow the weights."""
    for module in vae.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
        elif isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)


def quantize_fp8(network: nn.Module, device: torch.device) -> None:
    """The products of the network's blocks in float8 (e4m3), weights and activations scaled row by row, by torchao.

    Only linear layers that work on tokens: those of norms see one row a sample. Raises InputError where the card or
    the environment cannot.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < _FP8_CAPABILITY:
        raise InputError(f"fp8: {device} has no 8-bit products (compute capability 8.9 or later); switch it off")
    try:
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_
    except ImportError:
        raise InputError("fp8: the library torchao is not installed; install it or switch fp8 off") from None
    quantize_(network, Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()), filter_fn=takes_fp8)


def takes_fp8(module: nn.Module, name: str) -> bool:
    """Whether `quantize_fp8` converts a module of this qualified name."""
    in_block = "transformer_blocks." in name and "norm" not in name
    return isinstance(module, nn.Linear) and in_block and not (module.in_features % 16 or module.out_features % 16)
