"""Do the effects' statistics keep their promises? Simulated studies with planted effects, and without any.

    python benchmarks/effects_coverage.py [--claims 4000] [--studies 1000] [--draws 2000] [--table FILE]

Every study draws one figure a clip, as the pairs of rollouts give it, and runs the functions that effects.py runs.

First table, claims. How often a study says that the mean is within 0.1 m, by two one-sided t tests of the signed shift
alone, and by the rule in use (`relane.effects.claims`); where the mean is not within it, at most 5 % may. Then how
often the exact interval holds the share of clips that move, and how often that share is above the bound "at most"
(goals: at least 95 %, at most 5 %, within the noise of this simulation).

Second table, the interval of the mean: how often it covers (goal 93 to 97 %), how often the report lets it stand
without a warning, and how often it covers then; false alarms and power of the sign-flip test of edit minus sham.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from relane.effects import claims
from relane.effects.statistics import interval, sign_flip_p

MARGIN = 0.1  # metres
NOISE = 0.02  # metres: what moves every clip a little, in any direction
PLANTED, SPREAD, EDITOR = 0.25, 0.5, 0.15  # metres: mean and deviation of the effect, deviation of the editor's own
Draw = Callable[[int, np.random.Generator], np.ndarray]


def rare(share: float, metres: float) -> Draw:
    """A share of the clips moves by so much to the left, the others not at all."""
    return lambda n, rng: np.where(rng.random(n) < share, metres, 0.0)


def heavy(n: int, rng: np.random.Generator) -> np.ndarray:
    """To either side by a Pareto size of mean 0.12 m and without a variance."""
    return rng.choice((-1, 1), n) * 0.04 * (1 + rng.pareto(1.5, n))


# name -> signed shift of n clips in metres, and whether its mean size is beyond the margin
CLAIMS: dict[str, tuple[Draw, bool]] = {
    "5 % move 4 m": (rare(0.05, 4), True),
    "10 % move 3 m": (rare(0.1, 3), True),
    "2.6 % move 4 m": (rare(0.026, 4), True),
    "half +0.15, half -0.15 m": (lambda n, rng: rng.choice((-0.15, 0.15), n), True),
    "heavy tails, mean 0.12 m": (heavy, True),
    "all 0.1 m": (lambda n, rng: np.full(n, 0.1), True),
    "nothing": (lambda n, rng: np.zeros(n), False),
    "1 % move 4 m": (rare(0.01, 4), False),
}
EFFECTS: dict[str, Draw] = {
    "normal": lambda n, rng: PLANTED + SPREAD * rng.standard_normal(n),
    "skewed": lambda n, rng: PLANTED + SPREAD * (rng.gamma(1.5, 1 / np.sqrt(1.5), n) - np.sqrt(1.5)),
    "a quarter answers": lambda n, rng: PLANTED + SPREAD * np.where(rng.random(n) < 0.25, 3**0.5, -(3**-0.5)),
    "10 % move 3 m": rare(0.1, 3),
    "5 % move 4 m": rare(0.05, 4),
}
MEANS = {"10 % move 3 m": 0.3, "5 % move 4 m": 0.2}


def seed(*key: int) -> np.random.Generator:
    """Random numbers of one row."""
    return np.random.default_rng([0, *key])


@cache
def true_share(name: str) -> float:
    """The share of all clips that the kind moves beyond the margin, estimated once."""
    return float(np.mean(np.hypot(*shifts(name, 4_000_000, seed(99))) > MARGIN))


def shifts(name: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Lateral and longitudinal shift of n clips, metres."""
    return CLAIMS[name][0](n, rng) + NOISE * rng.standard_normal(n), NOISE * rng.standard_normal(n)


def claim_row(name: str, n: int, studies: int) -> list[float]:
    """Rates over studies of n clips: t tests alone, the rule, the interval holds the share, it is above "at most"."""
    rng, share, found = seed(n, list(CLAIMS).index(name)), true_share(name), []
    drawn = [shifts(name, n, rng) for _ in range(studies)]
    both = np.array([lateral for lateral, _ in drawn])
    above = stats.ttest_1samp(both, -MARGIN, axis=1, alternative="greater").pvalue
    below = stats.ttest_1samp(both, MARGIN, axis=1, alternative="less").pvalue
    for lateral, along in drawn:
        size = np.hypot(lateral, along)
        moved = claims.moved(size, MARGIN)
        rule = claims.equivalence({"lateral": lateral, "along": along}, size, MARGIN, max(claims.LARGEST, size.max()))
        holds = moved["low"] <= share <= moved["high"]
        found.append((bool(rule and rule["shown"]), holds, share > moved["at_most"]))
    return [float(np.mean(np.maximum(above, below) <= 0.05)), *np.mean(found, axis=0)]


def interval_row(name: str, n: int, studies: int, draws: int) -> list[float]:
    """Rates over studies of n clips: covers, stands without a warning, covers then, false alarms, power."""
    rng, truth, found = seed(n, 50 + list(EFFECTS).index(name)), MEANS.get(name, PLANTED), []
    rarely = name in MEANS
    for _ in range(studies):
        sham, nothing, own = (rng.normal(0, NOISE if rarely else EDITOR, n) for _ in range(3))
        edit = own + EFFECTS[name](n, rng)
        low, high = interval(edit - sham, "mean", draws, rng)
        stands = claims.interval_holds(claims.moved(np.abs(edit), MARGIN))
        alarm, power = (sign_flip_p(arm - sham, draws, rng) <= 0.05 for arm in (nothing, edit))
        found.append((low <= truth <= high, stands, alarm, power))
    covers, stands, alarms, power = np.array(found).T
    return [
        covers.mean(),
        stands.mean(),
        covers[stands].mean() if stands.any() else np.nan,
        alarms.mean(),
        power.mean(),
    ]


class Table:
    """Markdown, a row at a time, on the screen and into a file."""

    def __init__(self, path: Path | None, title: str):
        self.path, self.lines = path, []
        self.say(title)

    def say(self, line: str) -> None:
        """One more line."""
        print(line, flush=True)
        self.lines.append(line)
        if self.path:
            self.path.write_text("\n".join(self.lines) + "\n")

    def head(self, *columns: str) -> None:
        """A table's head."""
        self.say("\n| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))

    def row(self, name: str, n: int, rates: list[float]) -> None:
        """A row: the kind, the number of clips, shares."""
        cells = ["-" if np.isnan(rate) else f"{rate:.1%}" for rate in rates]
        self.say("| " + " | ".join([name, str(n), *cells]) + " |")


def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--studies", type=int, default=1000, help="a row of the second table")
    p.add_argument("--claims", type=int, default=4000, help="studies a row of the first table")
    p.add_argument("--draws", type=int, default=2000, help="bootstrap draws and sign flips (effects.py: 10000)")
    p.add_argument("--table", type=Path, help="file for the tables")
    args = p.parse_args()
    start = time.perf_counter()
    table = Table(args.table, "# What the effects' statistics promise, and what simulated studies say\n")
    table.say("Written by `python benchmarks/effects_coverage.py --table benchmarks/EFFECTS.md`, which says what each")
    table.say(f"column is. {args.claims} and {args.studies} studies a row; {args.draws} draws; margin {MARGIN} m.")
    columns = ("the mean is within 0.1 m, so the t tests alone", "so the rule in use", "exact interval holds the share")
    table.head("clips that move", "clips", *columns, 'share above "at most"')
    for name, (_, beyond) in CLAIMS.items():
        for n in (5, 8, 20, 40, 100, 200, 400):
            table.row(f"{name}{' (mean is not)' if beyond else ' (mean is)'}", n, claim_row(name, n, args.claims))
    table.head("effect", "clips", "interval covers", "no warning", "covers then", "false alarms", "power")
    for name in EFFECTS:
        for n in (5, 8, 10, 20, 40, 100):
            table.row(name, n, interval_row(name, n, args.studies, args.draws))
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
