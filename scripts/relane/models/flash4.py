"""FlashAttention-4 from the package flash-attn-4 (Hopper, Blackwell), as a backend of diffusers' attention dispatcher.

diffusers has a place for this kernel, `flash_4_hub`, and fetches what goes there when a model first runs. Here nothing
is fetched: the installed package takes the place, as one operator that torch.compile does not look into.
"""

import torch
from diffusers.models.attention_dispatch import _HUB_KERNELS_REGISTRY, AttentionBackendName
from torch import nn

from relane.errors import InputError

NAME = "flash_4"
_CAPABILITIES = (9, 10)  # Hopper, Blackwell


def use(network: nn.Module, device: torch.device) -> None:
    """Let all attention of a diffusers model run on it; for inference. Raises InputError where it cannot."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] not in _CAPABILITIES:
        raise InputError(f"attention_backend: {NAME} is for Hopper and Blackwell cards, not {device}; leave it blank")
    try:
        import flash_attn.cute  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"attention_backend: {NAME} needs the package flash-attn-4 ({error}); install it "
            "(pip install --pre 'flash-attn-4[cu13]') or leave it blank"
        ) from None
    put_in_place(network)


def put_in_place(network: nn.Module) -> None:
    """Without asking whether it can run."""
    backend = AttentionBackendName.FLASH_4_HUB
    _HUB_KERNELS_REGISTRY[backend].kernel_fn = _kernel
    for module in network.modules():
        if hasattr(getattr(module, "processor", None), "_attention_backend"):
            module.processor._attention_backend = backend


def _kernel(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, softmax_scale: float | None, causal: bool
) -> torch.Tensor:
    """As the dispatcher calls it: (B, N, heads, D) each."""
    if causal:
        raise ValueError("no network here has causal attention")
    return _attend(q, k, v, softmax_scale or q.shape[-1] ** -0.5)


@torch.library.custom_op("relane::flash_attention_4", mutates_args=())
def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    from flash_attn.cute import flash_attn_func

    out = flash_attn_func(query, key, value, softmax_scale=scale)
    return out[0] if isinstance(out, tuple) else out


@_attend.register_fake
def _(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    return query.new_empty(query.shape)
