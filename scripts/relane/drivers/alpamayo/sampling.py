"""Where the random numbers of a rollout come from, and how a token is chosen with them.

A rollout draws two kinds of noise: for the words of the reasoning, and for the flow that makes the path. In the
original both come one after the other from one generator, so a reply that is one word longer gives other flow noise:
two arms with the same seed then share nothing. `KeyedNoise` ties every draw to what it
is for. `SequentialNoise` keeps the original's order, for parity tests and for showing the difference.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from relane.errors import InputError
from relane.noise import generator


class Noise(Protocol):
    """A source of randomness for the rows of one rollout (scene-major: all samples of scene 0, then of scene 1).

    `one_stream`: what is drawn depends on how many draws went before, so that no scene can end before the others.
    """

    one_stream: bool

    def token(self, step: int, scores: torch.Tensor) -> torch.Tensor:
        """Choose by log-probabilities up to a constant, (rows, vocabulary) float32, -inf = never; -> (rows,) int64."""
        ...

    def flow(self, rows: int, waypoints: int) -> torch.Tensor:
        """Standard normal (rows, waypoints, 2) float32 on the CPU."""
        ...


class SequentialNoise:
    """The original's order: one `multinomial` over all rows per word, then one `randn`, from one generator."""

    one_stream = True

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator("cpu").manual_seed(seed)

    def token(self, step: int, scores: torch.Tensor) -> torch.Tensor:
        """See `Noise.token`; every row draws at every step, also rows that are done."""
        probabilities = scores.softmax(dim=-1).cpu()
        return torch.multinomial(probabilities, 1, generator=self.generator)[:, 0].to(scores.device)

    def flow(self, rows: int, waypoints: int) -> torch.Tensor:
        """See `Noise.flow`."""
        return torch.randn(rows, waypoints, 2, generator=self.generator)


class KeyedNoise:
    """Common random numbers: every draw keyed by (scene key, sample, step) for words, (scene key, sample) for the flow.

    A scene key is for instance (seed, noise name, clip id, t0). No arm is in it, so all arms share the noise. Words
    are chosen by the Gumbel-max rule: the token with the largest score + Gumbel noise is a draw from the scores'
    distribution, and since the noise belongs to (sample, step, token), a small change of the scores changes the
    choice only where two tokens were close: equal prefixes give equal tokens.
    """

    one_stream = False

    def __init__(self, scene_keys: Sequence[Sequence[object]], samples: int) -> None:
        self.row_keys = [(*key, sample) for key in scene_keys for sample in range(samples)]

    def token(self, step: int, scores: torch.Tensor) -> torch.Tensor:
        """See `Noise.token`."""
        # Arms that share their noise have the same keys: drawn once.
        made = {
            key: torch.rand(scores.shape[1], generator=generator(*key, step, "token"))
            for key in dict.fromkeys(self.row_keys)
        }
        draws = [made[key] for key in self.row_keys]
        # Gumbel noise is -log(-log(u)); u = 0 makes it -inf, which forbids a token and makes no NaN.
        return (scores - (-torch.stack(draws).to(scores.device).log()).log()).argmax(dim=-1)

    def flow(self, rows: int, waypoints: int) -> torch.Tensor:
        """See `Noise.flow`."""
        if rows != len(self.row_keys):
            raise ValueError(f"keyed for {len(self.row_keys)} rows, asked for {rows}")
        return torch.stack([torch.randn(waypoints, 2, generator=generator(*key, "flow")) for key in self.row_keys])


class Sampler:
    """Logits to scores: trajectory tokens never, then temperature, then top-p; no top-k."""

    def __init__(self, temperature: float, top_p: float, banned: slice) -> None:
        if not temperature > 0:
            raise InputError(f"temperature is {temperature}: it must be above 0 (0.001 is as good as greedy)")
        if not 0 < top_p <= 1:
            raise InputError(f"top_p is {top_p}: it must be above 0 and at most 1")
        self.banned = banned
        self.warp = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
        if top_p < 1:
            self.warp.append(TopPLogitsWarper(top_p))

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) logits of any dtype -> float32 scores."""
        scores = logits.float().clone()
        scores[:, self.banned] = -torch.inf
        return self.warp(None, scores)
