"""How far two arms drive apart for no reason: noise keyed by what it is for, against one generator for everything.

    python benchmarks/common_random_numbers.py [--golden FOLDER] [--seeds 20] [--samples 6]

Identical frames: both arms write the same words, but arm B's generation runs some steps longer (another sample of its
batch talks on). Nothing that the path depends on differs, so the displacement should be 0. A small edit: a bright bar
on the front camera, free replies; the displacement should be the edit's own. `independent` gives both arms other noise.
Displacement is the mean over samples and time of the distance between paths of the same number, in metres.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import numpy as np
import torch

from relane.drivers.alpamayo.policy import Policy, Rollout, load_policy
from relane.drivers.alpamayo.sampling import KeyedNoise, Noise, SequentialNoise

ROOT = Path(__file__).parents[1]
SAMPLING = {"temperature": 0.6, "top_p": 0.98, "max_generation_length": 64}
LONGER = 3  # steps by which arm B's generation is longer


class Arms:
    """One scene of a folder of frozen inputs, driven unedited and edited."""

    def __init__(self, folder: Path, samples: int) -> None:
        data = np.load(folder / "inputs.npz")
        self.policy: Policy = load_policy(folder / "checkpoint")
        self.samples = samples
        self.history = data["ego_history_xyz"][0], data["ego_history_rot"][0]
        self.frames = list(data["image_frames"].transpose(0, 2, 3, 1))
        self.edited = [frame.copy() for frame in self.frames]
        for frame in self.edited[4:8]:  # the second camera: front wide
            height, width = frame.shape[:2]
            frame[height // 2 :, width // 2 - 8 : width // 2 + 8] = 230

    def drive(self, noise: Noise, edited: bool = False, words: np.ndarray | None = None) -> Rollout:
        """One rollout; `words` (K, G) are forced."""
        frames = self.edited if edited else self.frames
        return self.policy.rollout(
            [frames], *self.history, noise, num_samples=self.samples, reasoning=words, **SAMPLING
        )

    def same_words_longer(self, first: Rollout) -> np.ndarray:
        """The first arm's words with further steps behind them; an incomplete reply would see those, so none is."""
        tail = np.full((self.samples, LONGER), self.policy.vocabulary.pad)
        return np.concatenate([first.tokens[0], tail], axis=1)

    def after(self, noise: Noise, steps: int) -> Noise:
        """A source from which the words of a generation of so many steps have been drawn."""
        scores = torch.zeros(self.samples, self.policy.config.vocab_size)
        for step in range(steps):
            noise.token(step, scores)
        return noise


def displacement(a: Rollout, b: Rollout, only: np.ndarray | None = None) -> float:
    """Mean distance in x, y of samples of the same number, over all or `only` some."""
    distance = np.linalg.norm((a.xyz - b.xyz)[0, ..., :2], axis=-1).mean(axis=-1)
    return float(distance[only if only is not None else slice(None)].mean())


def keyed(seed: int, samples: int) -> Noise:
    """Our scheme."""
    return KeyedNoise([(seed,)], samples)


def sequential(seed: int, _samples: int) -> Noise:
    """The original's scheme."""
    return SequentialNoise(seed)


def measure(arms: Arms, seeds: int) -> dict[str, dict[str, list[float]]]:
    """Displacements by scheme and case over seeds."""
    results: dict[str, dict[str, list[float]]] = {}
    for name, scheme in {"keyed (ours)": keyed, "one generator (original)": sequential}.items():
        rows = results[name] = {"identical": [], "edit, equal": [], "edit, different": [], "independent": []}
        for seed in range(seeds):
            first = arms.drive(scheme(seed, arms.samples))
            # Not those that the limit cut: an incomplete reply lets the path see its pads, and a stop token at the
            # very limit is not cached (both are the original's ways, kept for parity).
            whole = first.complete[0] & (first.lengths[0] < first.tokens.shape[2])
            if whole.any():
                words = arms.same_words_longer(first)
                longer = arms.drive(arms.after(scheme(seed, arms.samples), words.shape[1]), words=words)
                rows["identical"].append(displacement(first, longer, whole))
            edited = arms.drive(scheme(seed, arms.samples), edited=True)
            equal = edited.tokens.shape == first.tokens.shape
            rows["edit, equal" if equal else "edit, different"].append(displacement(first, edited))
            other = arms.drive(scheme(seed + 10_000, arms.samples), edited=True)
            rows["independent"].append(displacement(first, other))
    return results


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--golden", type=Path, default=ROOT / "tests/golden/alpamayo", help="folder of the golden layout"
    )
    parser.add_argument("--seeds", type=int, default=20, help="pairs of rollouts per line")
    parser.add_argument("--samples", type=int, default=6, help="K")
    args = parser.parse_args(argv)
    print(f"{args.golden}, K={args.samples}, {args.seeds} seeds, CPU float32; displacement in metres: mean (largest)")
    for scheme, rows in measure(Arms(args.golden, args.samples), args.seeds).items():
        print(scheme)
        labels = {
            "identical": "identical frames and words, arm B's generation longer",
            "edit, equal": "small edit, generations equally long",
            "edit, different": "small edit, generations of different length",
            "independent": "small edit, independent noise",
        }
        for key, label in labels.items():
            values = rows[key]
            shown = f"{np.mean(values):.6f} ({np.max(values):.6f}), {len(values)} pairs" if values else "no such pair"
            print(f"  {label:55s} {shown}")


if __name__ == "__main__":
    main()
