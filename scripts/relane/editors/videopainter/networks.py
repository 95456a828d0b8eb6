"""VideoPainter's networks as subclasses of stock CogVideoX: the branch, and the transformer that takes its samples.

Shapes: B is the batch (doubled under guidance), L latent frames, h and w the latent size, N_t text tokens,
N_v = L * (h/2) * (w/2) video tokens, D the width. Video tokens are ordered frame, row, column.
"""

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import CogVideoXTransformer3DModel
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
from diffusers.utils import apply_lora_scale
from torch import nn

from relane.editors.videopainter.background import Background, update


class VideoPainterAttention:
    """Joint text and video attention with VideoPainter's memory, through diffusers' attention dispatcher.

    Without memory it is CogVideoX's own attention. With `resample` (VideoPainterID) the keys and values of the
    masked tokens are appended once more; with previous states and a weight above 0 they are the previous
    window's instead. Without `resample`, a weight above 0 mixes in attention to the previous window.
    """

    # Read and set by diffusers' `set_attention_backend` and context parallelism.
    _attention_backend = None
    _parallel_config = None

    def __init__(self, resample: bool = False):
        self.resample = resample

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        previous: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
        previous_weight: float = 0.0,
        background: tuple[torch.Tensor, torch.Tensor] | None = None,
        full: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend; video (B, N_v, D) and text (B, N_t, D) in and out.

        `previous` (B, N_t+N_v, D): the previous window's states after this block's input norm; `memory_mask`
        (B, N_t+N_v, 1) bool: the tokens that memory may hold. `background` and `full`: see `background.update`.
        `attention_mask` is not used by CogVideoX.
        """
        text_length = encoder_hidden_states.shape[1]
        joint = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        query_joint, key_joint, value_joint = project(attn, joint)
        query = self._heads(attn, query_joint, attn.norm_q, text_length, image_rotary_emb)
        key = self._heads(attn, key_joint, attn.norm_k, text_length, image_rotary_emb)
        value = self._heads(attn, value_joint)

        use_previous = previous is not None and previous_weight > 0
        if self.resample and memory_mask is not None:
            if use_previous:
                _, key_memory, value_memory = project(attn, previous)
                key_memory = key_memory * memory_mask * previous_weight
                value_memory = value_memory * memory_mask * previous_weight
            else:
                key_memory, value_memory = key_joint * memory_mask, value_joint * memory_mask
            # Tokens outside the mask stay as attention sinks: their key is the norm's bias, their value is 0.
            key_memory = self._heads(attn, key_memory, attn.norm_k, text_length, image_rotary_emb)
            key = torch.cat([key, key_memory], dim=2)
            value = torch.cat([value, self._heads(attn, value_memory)], dim=2)
            out = self._attend(query, key, value)
        elif use_previous:
            _, key_previous, value_previous = project(attn, previous)
            key_previous = self._heads(attn, key_previous, attn.norm_k, text_length, image_rotary_emb)
            value_previous = self._heads(attn, value_previous)
            out = (1 - previous_weight) * self._attend(query, key, value)
            out = out + previous_weight * self._attend(query, key_previous, value_previous)
        else:
            if background is not None:
                key, value = update(key, value, background, full)
            out = self._attend(query, key, value)

        out = attn.to_out[1](attn.to_out[0](out.flatten(2)))
        text, video = out.split([text_length, out.shape[1] - text_length], dim=1)
        return video, text

    def _heads(
        self,
        attn: nn.Module,
        projected: torch.Tensor,
        norm: nn.Module | None = None,
        text_length: int = 0,
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """(B, N, D) to (B, heads, N, D/heads), normed per head and, on video tokens, rotated."""
        heads = projected.view(*projected.shape[:2], attn.heads, -1).transpose(1, 2)
        if norm is not None:
            heads = norm(heads)
        if rotary is not None:
            heads[:, :, text_length:] = apply_rotary_emb(heads[:, :, text_length:], rotary)
        return heads

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        # The dispatcher wants (B, N, heads, D/heads) and hands the kernel the tensors transposed back.
        return dispatch_attention_fn(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            # Never the process-wide default, which an environment variable or another model's choice may change.
            backend=self._attention_backend or AttentionBackendName.NATIVE,
            parallel_config=self._parallel_config,
        )


def project(attn: nn.Module, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, key and value (B, N, D) of tokens (B, N, D), by one product where the projections are fused."""
    if attn.fused_projections:
        return attn.to_qkv(tokens).chunk(3, dim=-1)
    return attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)


class Fusable:
    """Replaces the stock model's `fuse_qkv_projections`, which would also put its own attention in place of ours."""

    def fuse_qkv_projections(self) -> None:
        """Make one projection of each block's query, key and value projections; see `acceleration.fuse`."""
        for block in self.transformer_blocks:
            block.attn1.fuse_projections()


class VideoPainterBlock(CogVideoXBlock):
    """CogVideoX's block, with the branch's sample added to its video tokens and memory of the previous window.

    The sample is added inside `forward`, not by a hook, so that caches that skip a block skip its sample too and
    torch.compile sees one plain function.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        temb: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        residual: torch.Tensor | None = None,
        keep: torch.Tensor | None = None,
        previous_states: torch.Tensor | None = None,
        memory_mask: torch.Tensor | None = None,
        previous_weight: float = 0.0,
        background: tuple[torch.Tensor, torch.Tensor] | None = None,
        full: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As CogVideoXBlock, plus: `residual` (B, N_v, D), the branch's sample; `keep` (B, N_v, 1) bool, tokens that
        do not take it (None: all take it); `previous_states` (B, N_t+N_v, D), this block's output in the previous
        window's last step; `background` and `full`: see `background.update`. Returns video and text tokens."""
        memory: dict[str, Any] = {"memory_mask": memory_mask, "background": background, "full": full}
        if previous_states is not None and previous_weight > 0:
            text_length = encoder_hidden_states.shape[1]
            # The block's own input norm under the present time embedding, on what the block put out before.
            video, text, _, _ = self.norm1(previous_states[:, text_length:], previous_states[:, :text_length], temb)
            memory.update(previous=torch.cat([text, video], dim=1), previous_weight=previous_weight)
        hidden_states, encoder_hidden_states = super().forward(
            hidden_states, encoder_hidden_states, temb, image_rotary_emb, {**(attention_kwargs or {}), **memory}
        )
        if residual is not None:
            added = hidden_states + residual
            hidden_states = added if keep is None else torch.where(keep, hidden_states, added)
        return hidden_states, encoder_hidden_states


# diffusers' caches (FirstBlockCache and others) look a block's class up here, and not its base classes.
TransformerBlockRegistry.register(
    VideoPainterBlock,
    TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=1),
)


class VideoPainterTransformer(Fusable, CogVideoXTransformer3DModel):
    """Stock CogVideoX with `VideoPainterBlock`s: the same tensors by name, and a forward that takes samples."""

    _no_split_modules: tuple[str, ...] = ("VideoPainterBlock", "CogVideoXPatchEmbed")
    _repeated_blocks: tuple[str, ...] = ("VideoPainterBlock",)
    _supports_gradient_checkpointing = False

    # The signature is the stock model's, which is how diffusers tells config keys from others.
    @functools.wraps(CogVideoXTransformer3DModel.__init__)
    def __init__(self, **config: Any):
        super().__init__(**config)
        c = self.config
        self.transformer_blocks = nn.ModuleList(
            VideoPainterBlock(
                dim=c.num_attention_heads * c.attention_head_dim,
                num_attention_heads=c.num_attention_heads,
                attention_head_dim=c.attention_head_dim,
                time_embed_dim=c.time_embed_dim,
                dropout=c.dropout,
                activation_fn=c.activation_fn,
                attention_bias=c.attention_bias,
                norm_elementwise_affine=c.norm_elementwise_affine,
                norm_eps=c.norm_eps,
            )
            for _ in range(c.num_layers)
        )
        self.set_id_resample(False)

    def set_id_resample(self, on: bool) -> None:
        """Use VideoPainterID's resampling attention in every block, or plain attention."""
        for block in self.transformer_blocks:
            block.attn1.set_processor(VideoPainterAttention(resample=on))

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        branch_samples: list[torch.Tensor] | None = None,
        token_mask: torch.Tensor | None = None,
        mask_add: bool = True,
        add_first: bool = False,
        previous_states: list[torch.Tensor] | None = None,
        memory_mask: torch.Tensor | None = None,
        previous_weight: float = 0.0,
        keep_states: bool = False,
        background: Background | None = None,
        full: bool = True,
    ) -> tuple[torch.Tensor, list[torch.Tensor] | None]:
        """Predict; returns the prediction (B, L, C, h, w) and, if `keep_states`, every block's output (B, N_t+N_v, D).

        hidden_states (B, L, 2C, h, w): noisy latents and image latents on channels; encoder_hidden_states
        (B, N_t, text width); timestep (B,). `branch_samples`: (B, N_v, D) each, spread evenly over the blocks, or
        with `add_first` one each to the first blocks. `token_mask` (B, N_v) bool, True = inpaint; with `mask_add`
        only the tokens outside it take the samples. `previous_states`: `keep_states` of the previous window;
        `memory_mask` (B, N_t+N_v) bool, for resampling attention. With a `background` a step is `full`, or computes the
        hole alone: its prediction is 0 elsewhere, and samples, which the background takes, are not looked at.
        """
        temb = self.time_embedding(self.time_proj(timestep).to(hidden_states.dtype))
        tokens = self.embedding_dropout(self.patch_embed(encoder_hidden_states, hidden_states))
        text_length = encoder_hidden_states.shape[1]
        text, video = apart(tokens, text_length)

        keep = token_mask[..., None] if token_mask is not None and mask_add else None
        if background is not None:
            where = background.where(full)
            video, keep = video[:, where], keep[:, where]
            image_rotary_emb = image_rotary_emb and tuple(table[where] for table in image_rotary_emb)
            branch_samples = [sample[:, where] for sample in branch_samples] if full else None
        memory = memory_mask[..., None] if memory_mask is not None else None
        states: list[torch.Tensor] = []
        heads = self.config.num_attention_heads
        for index, block in enumerate(self.transformer_blocks):
            video, text = block(
                hidden_states=video,
                encoder_hidden_states=text,
                temb=temb,
                image_rotary_emb=image_rotary_emb,
                attention_kwargs=attention_kwargs,
                residual=sample_of_block(branch_samples, index, len(self.transformer_blocks), add_first),
                keep=keep,
                previous_states=previous_states[index] if previous_states is not None else None,
                memory_mask=memory,
                previous_weight=previous_weight,
                background=background and background.kept(index, video, heads),
                full=full,
            )
            if keep_states:
                states.append(torch.cat([text, video], dim=1))

        video = self.proj_out(self.norm_out(self.norm_final(video), temb=temb))
        if background is not None:
            video = background.back(video, full)
        return unpatchify(video, hidden_states.shape, self.config.patch_size), (states if keep_states else None)


class CogvideoXBranchModel(Fusable, CogVideoXTransformer3DModel):
    """VideoPainter's branch: the first CogVideoX blocks again, on noisy latents, masked video and mask.

    The name is the checkpoint's (`_class_name`). `branch_x_embedder`, `norm_final`, `norm_out` and `proj_out` are in
    released files and never used; they are kept so that a checkpoint loads strictly.
    """

    _no_split_modules: tuple[str, ...] = ("CogVideoXBlock", "CogVideoXPatchEmbed")
    _repeated_blocks: tuple[str, ...] = ("CogVideoXBlock",)
    _supports_gradient_checkpointing = False

    @functools.wraps(CogVideoXTransformer3DModel.__init__)
    def __init__(self, **config: Any):
        in_channels = config.get("in_channels", 16)
        # Patches see noisy latents, masked-video latents and one mask channel; a config of 16 means the same 33.
        super().__init__(**{**config, "in_channels": (in_channels if in_channels != 16 else 32) + 1})
        self.register_to_config(in_channels=in_channels)
        width = self.config.num_attention_heads * self.config.attention_head_dim
        self.branch_blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(self.config.num_layers))
        self.branch_x_embedder = nn.Linear(in_channels, width)
        for block in self.transformer_blocks:
            block.attn1.set_processor(VideoPainterAttention())
        for linear in (*self.branch_blocks, self.branch_x_embedder):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        branch_cond: torch.Tensor,
        timestep: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        conditioning_scale: float = 1.0,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> list[torch.Tensor]:
        """One sample (B, N_v, D) per block of the branch.

        hidden_states (B, L, 16, h, w): noisy latents; encoder_hidden_states (B, N_t, text width); branch_cond
        (B, L, 17, h, w): latents of the masked video, then the mask; timestep (B,).
        """
        temb = self.time_embedding(self.time_proj(timestep).to(hidden_states.dtype))
        tokens = self.patch_embed(encoder_hidden_states, torch.cat([hidden_states, branch_cond], dim=2))
        tokens = self.embedding_dropout(tokens)
        text_length = encoder_hidden_states.shape[1]
        text, video = apart(tokens, text_length)
        samples = []
        for block, out in zip(self.transformer_blocks, self.branch_blocks, strict=True):
            video, text = block(
                hidden_states=video,
                encoder_hidden_states=text,
                temb=temb,
                image_rotary_emb=image_rotary_emb,
                attention_kwargs=attention_kwargs,
            )
            samples.append((out(video) * conditioning_scale).to(video.dtype))
        return samples


def apart(tokens: torch.Tensor, text_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Text (B, N_t, D) and video tokens (B, N_v, D) of joint ones, each with memory of its own.

    As blocks put them out; slices would have strides that no other block sees, and torch.compile would make a graph
    of its own for the first block.
    """
    parts = tokens[:, :text_length], tokens[:, text_length:]
    return tuple(part.clone(memory_format=torch.contiguous_format) for part in parts)


def unpatchify(tokens: torch.Tensor, shape: torch.Size, patch: int) -> torch.Tensor:
    """Video tokens (B, N_v, C * patch * patch) to latents (B, L, C, h, w); `shape` is (B, L, any, h, w)."""
    batch, frames, _, height, width = shape
    cells = tokens.reshape(batch, frames, height // patch, width // patch, -1, patch, patch)
    return cells.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)


def sample_of_block(
    samples: list[torch.Tensor] | None, index: int, blocks: int, add_first: bool = False
) -> torch.Tensor | None:
    """The branch sample for block `index` of `blocks`: 42 blocks and 2 samples give 0 to blocks 0-20, 1 to 21-41."""
    if not samples:
        return None
    if add_first:
        return samples[index] if index < len(samples) else None
    return samples[index // math.ceil(blocks / len(samples))]


def token_mask(mask: torch.Tensor, patch_size: int = 2) -> torch.Tensor:
    """Latent mask (B, L, 1, h, w), 1 = inpaint, to tokens (B, N_v) bool: True where any cell of the patch is masked."""
    pooled = F.max_pool2d(mask[:, :, 0].float(), patch_size, stride=patch_size)
    return (pooled > 0).flatten(1)


def joint_mask(tokens: torch.Tensor, text_length: int) -> torch.Tensor:
    """Video token mask (B, N_v) to joint tokens (B, N_t+N_v): text is never masked."""
    return torch.cat([tokens.new_zeros(tokens.shape[0], text_length), tokens], dim=1)
