"""The policy as a driver (`relane.drivers.Driver`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from relane.drivers import Answer
from relane.drivers.alpamayo import READ
from relane.drivers.alpamayo.policy import Policy, Rollout
from relane.drivers.alpamayo.readable import refuse_unreadable
from relane.drivers.alpamayo.sampling import KeyedNoise
from relane.drivers.scene import Scene
from relane.errors import InputError

# Options of `drive` that are the model's own.
SAMPLING = ("top_p", "temperature", "max_generation_length")


class Alpamayo:
    """A checkpoint in memory."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def sample(
        self,
        scenes: Sequence[Scene],
        keys: Sequence[tuple],
        num_samples: int,
        options: Mapping[str, Any],
        words: Mapping[str, Any] | None = None,
    ) -> list[Answer]:
        """As `relane.drivers.Driver.sample`.

        options: top_p, temperature, max_generation_length, and diffusion_steps, 0 for as many as the checkpoint says.
        In bfloat16 a batch of another shape rounds differently: compare scenes of one call.
        """
        steps = options["diffusion_steps"] or self.policy.config.diffusion_steps
        rollout = self.policy.rollout(
            [scene.images for scene in scenes],
            np.stack([scene.history_xyz for scene in scenes]),
            np.stack([scene.history_rot for scene in scenes]),
            KeyedNoise(keys, num_samples),
            num_samples=num_samples,
            diffusion_steps=steps,
            reasoning=None if words is None else tokens_of(words, num_samples),
            **{name: options[name] for name in SAMPLING},
        )
        sampling = {name: options[name] for name in SAMPLING} | {"diffusion_steps": steps}
        said = ", ".join(f"{name} {value}" for name, value in sampling.items())
        answers = []
        for number, scene in enumerate(scenes):
            own = rollout.scene(number)
            refuse_unreadable(self.policy, own, f"{scene.label}, {said}, num_traj_samples {num_samples}")
            about = {"outside_training": len(scene.frames) != len(READ[4]), "sampling": sampling}
            answers.append(_answer(own, about))
        return answers


def _answer(rollout: Rollout, about: dict[str, Any]) -> Answer:
    tokens = rollout.tokens[0]
    record = about | {
        "reply_lengths": rollout.lengths[0].tolist(),
        "reasoning_tokens": [" ".join(map(str, row)) for row in tokens.tolist()],
        "v0_mps": float(rollout.v0[0]),
    }
    arrays = {"action": rollout.action[0], "tokens": tokens, "v0": np.asarray(rollout.v0[0])}
    return Answer(rollout.xyz[0], rollout.rot[0], rollout.text[0], rollout.complete[0], record, arrays, rollout.seconds)


def tokens_of(record: Mapping[str, Any], samples: int) -> np.ndarray:
    """The tokens (K, G) int64 that a rollout wrote, from its record. Raises InputError where it holds none."""
    rows = [row.split() for row in record.get("reasoning_tokens") or []]
    if len(rows) != samples or len({len(row) for row in rows}) != 1:
        raise InputError("the original's record holds no reasoning_tokens; drive the original arm again")
    return np.array(rows, dtype=np.int64)
