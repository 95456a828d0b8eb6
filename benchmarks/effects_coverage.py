"""Do the effects' statistics keep their promises? Simulated studies with planted lateral effects, and without any.

    python benchmarks/effects_coverage.py [--studies 1000] [--draws 2000] [--only-forty]

Every study draws clips with curved original paths of K = 6 samples, a sham arm (a small shift of its own per clip) and
an edit arm (another such shift plus a planted one that varies from clip to clip), and runs the code that effects.py
runs. Printed per kind of variation and number of clips: how often the 95 % interval of the mean lateral effect covers
the true mean (goal 93 to 97 %), how often an edit without effect is called one (goal at most 5 %, within the noise
of this simulation), and how often a true one is found (power), both by the sign-flip test of edit minus sham.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from relane.effects.paths import DT, difference_in_path_frame
from relane.effects.statistics import interval, sign_flip_p

SAMPLES, STEPS = 6, 64
PLANTED, SPREAD, EDITOR = (
    0.25,
    0.5,
    0.15,
)  # metres: mean and deviation of the true effect, deviation of the editor's own


def original_paths(clips: int, rng: np.random.Generator) -> np.ndarray:
    """Arcs of different speed and curvature, (clips, K, T, 2) metres; samples of a clip differ a little."""
    t = DT * np.arange(1, STEPS + 1)
    speed = rng.uniform(6, 14, (clips, 1, 1)) + rng.normal(0, 0.3, (clips, SAMPLES, 1))
    curvature = rng.normal(0, 0.004, (clips, 1, 1)) + rng.normal(0, 0.0005, (clips, SAMPLES, 1))
    angle = curvature * speed * t
    step = speed * DT
    return np.stack([np.cumsum(step * np.cos(angle), -1), np.cumsum(step * np.sin(angle), -1)], -1)


def shifted(paths: np.ndarray, shift: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paths (clips, K, T, 2) moved to their own left by `shift` (clips,) metres, and jittered per sample along it."""
    ahead = np.gradient(paths, axis=-2)
    ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True)
    left = np.stack([-ahead[..., 1], ahead[..., 0]], -1)
    jitter = rng.normal(0, 0.05, (*paths.shape[:2], 1, 1))
    return paths + left * (shift[:, None, None, None] + jitter)


def variation(kind: str, clips: int, rng: np.random.Generator) -> np.ndarray:
    """How the true effect varies over clips: mean 0, deviation 1."""
    if kind == "normal":
        return rng.standard_normal(clips)
    if kind == "skewed":  # most clips answer little, a few much
        return rng.gamma(1.5, 1 / np.sqrt(1.5), clips) - np.sqrt(1.5)
    return np.where(
        rng.random(clips) < 0.25, np.sqrt(3.0), -np.sqrt(1 / 3)
    )  # a quarter of the clips answers, others not


def one_study(kind: str, clips: int, draws: int, rng: np.random.Generator) -> tuple[bool, bool, bool]:
    """Whether the interval covers the planted mean, whether a null edit is called an effect, whether a true one is."""
    base = original_paths(clips, rng)

    def lateral(shift: np.ndarray) -> np.ndarray:
        return difference_in_path_frame(shifted(base, shift, rng), base)[0].mean((1, 2))

    editor = [rng.normal(0, EDITOR, clips) for _ in range(3)]
    sham, nothing = lateral(editor[0]), lateral(editor[1])
    edit = lateral(editor[2] + PLANTED + SPREAD * variation(kind, clips, rng))
    low, high = interval(edit - sham, "mean", draws, rng)
    false_alarm = sign_flip_p(nothing - sham, draws, rng) <= 0.05
    return low <= PLANTED <= high, false_alarm, sign_flip_p(edit - sham, draws, rng) <= 0.05


def rates(kind: str, clips: int, studies: int, draws: int, seed: int = 0) -> np.ndarray:
    """Coverage, false alarms and power as shares of `studies`, (3,)."""
    rng = np.random.default_rng([seed, clips, ("normal", "skewed", "few answer").index(kind)])
    return np.mean([one_study(kind, clips, draws, rng) for _ in range(studies)], axis=0)


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--studies", type=int, default=1000)
    p.add_argument("--draws", type=int, default=2000, help="bootstrap draws and sign flips (effects.py: 10000)")
    p.add_argument("--only-forty", action="store_true", help="only studies of 40 clips")
    args = p.parse_args()
    start = time.perf_counter()
    print(f"{args.studies} studies, {args.draws} draws, K = {SAMPLES}; planted {PLANTED} m, deviation {SPREAD} m")
    print(f"{'effect over clips':<18}{'clips':>6}{'coverage':>10}{'false alarms':>14}{'power':>8}")
    alarms = []
    for kind in ("normal", "skewed", "few answer"):
        for clips in (40,) if args.only_forty else (5, 10, 20, 40):
            coverage, alarm, power = rates(kind, clips, args.studies, args.draws)
            if clips > 5:  # the sign-flip p of five clips is 2/32 at least: no alarm, no power
                alarms.append(alarm)
            print(f"{kind:<18}{clips:>6}{coverage:>10.1%}{alarm:>14.1%}{power:>8.1%}", flush=True)
    error = np.sqrt(0.05 * 0.95 / args.studies)
    print(f"false alarms, rows of 10 clips and more: {np.mean(alarms):.1%} (standard error of a row {error:.1%})")
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
