"""Steps that compute the hole alone, attending to what the background was at an earlier step.

After every step the background is replaced by the source's own latents, so what the networks predict there is thrown
away; only its keys and values matter, and they change slowly from step to step. They are computed at some steps and
remembered in between (as region-adaptive sampling does: Liu et al. 2025, arXiv:2502.10389). For this the tokens are put
in another order, the hole's first. B is the batch, N_v the number of video tokens, n that of the hole's, D the width.
"""

import torch


class Background:
    """One window's background: its tokens' keys and values in every block, as they were at the last full step."""

    def __init__(self, tokens: torch.Tensor) -> None:
        """`tokens` (N_v,) bool: True where the token is of the hole."""
        self.order = torch.argsort(~tokens, stable=True)
        self.hole = int(tokens.sum())
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def where(self, full: bool) -> torch.Tensor:
        """The tokens that a step computes, (N_v,) or (n,) int64, in the order in which it does."""
        return self.order if full else self.order[: self.hole]

    def kept(self, block: int, like: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A block's memory, keys and values (B, heads, N_v - n, D / heads): of the last rows, as `like` (B, N, D) has.

        Made when first asked for, which is at a full step of the largest batch.
        """
        rows, _, width = like.shape
        while len(self._kept) <= block:
            shape = (rows, heads, len(self.order) - self.hole, width // heads)
            self._kept.append((like.new_empty(shape), like.new_empty(shape)))
        keys, values = self._kept[block]
        return keys[-rows:], values[-rows:]

    def back(self, video: torch.Tensor, full: bool) -> torch.Tensor:
        """Computed tokens (B, N_v or n, D) in their own places, (B, N_v, D); 0 where nothing was computed."""
        places = video.new_zeros(len(video), len(self.order), video.shape[2])
        places[:, self.where(full)] = video
        return places


def update(
    key: torch.Tensor, value: torch.Tensor, kept: tuple[torch.Tensor, torch.Tensor], full: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (B, heads, N, D/heads) to attend to; a full step's own, whose last ones are remembered in `kept`.

    A step on the hole alone has the text's and the hole's, and the remembered ones follow.
    """
    if not full:
        return tuple(torch.cat(pair, dim=2) for pair in zip((key, value), kept, strict=True))
    for now, memory in zip((key, value), kept, strict=True):
        memory.copy_(now[:, :, now.shape[2] - memory.shape[2] :])
    return key, value
