"""Has the tiny driver learnt the synthetic driver's rule? Held-out drives, through the policy that the pipeline runs.

    python simworld/benchmarks/tiny_driver.py [--checkpoints resources/tiny] [--drives 40] [--samples 6]

What the driver sees has gone through H.264 at CRF 18, 320 x 180 at 10 frames a second, as at run time.
1. Accuracy: minADE_6 on drives with and without a slower car, against a car that goes straight on at its speed.
2. The rule, on ideal edits: the same drive with every marking painted, on the front wide camera alone; the other
   cameras show the drive's own marking. "Right" is a sampled path that ends beyond the lane line where the line is
   single and dashed, and in its own lane elsewhere; its end is at t0 + 6.4 s. Once with free words, once with the words
   that the driver said to the drive's own marking.
3. Colour: distance between the paths for white and for yellow, same noise; beside it that of dashed and solid.
"""

import argparse
import io
import sys
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

import numpy as np

from relane import cli, noise
from relane.data.physical_ai_av.clip import decode_frames
from relane.drivers.alpamayo.policy import Policy, Rollout, load_policy
from relane.drivers.alpamayo.sampling import KeyedNoise
from relane.evaluation.path_metrics import ade, distances, min_ade_of
from relane.prompts.lanes import Attributes
from simworld.learning.drives import ego
from simworld.learning.pictures import ALL, any_attributes, repainted, rng_of
from simworld.world.dataset import encode
from simworld.world.driver import may_cross
from simworld.world.rig import FOUR_CAMERAS, FRONT_WIDE
from simworld.world.scene import Scene

T0 = 5.1
SAMPLING = {"temperature": 0.6, "top_p": 0.98, "max_generation_length": 24}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    root = Path(__file__).parents[2]
    add("--checkpoints", type=Path, default=root / "resources/tiny", help="folder with alpamayo/ in it")
    add("--drives", type=int, default=40, help="held-out drives of each part (default: %(default)s)")
    add("--samples", type=int, default=6, help="paths a drive, at least 6 (default: %(default)s)")
    add("--seed", type=int, default=0)
    add("--device", default="cpu")
    add("--dtype", default="float32", choices=("float32", "bfloat16"))
    return options


def seen(scene: Scene, camera: str) -> list[np.ndarray]:
    """The camera's four frames at t0 out of a video of one second."""
    times = np.rint((T0 + 0.1 * np.arange(-9, 1)) * 1e6).astype(np.int64)
    video = io.BytesIO(encode(scene, camera, times, 10.0))
    return decode_frames(video, np.arange(6, 10), len(times), camera)


def drive(policy: Policy, scene: Scene, views: list[dict], samples: int, words: np.ndarray | None = None) -> Rollout:
    """One call for all `views` (camera -> frames) of a scene; all share their noise."""
    frames = [[image for camera in FOUR_CAMERAS for image in view[camera]] for view in views]
    history, rotation, _, _ = ego(scene.drive, T0)
    keyed = KeyedNoise([("benchmark", scene.seed, T0)] * len(views), samples)
    repeated = [np.repeat(value[None], len(views), 0) for value in (history, rotation)]
    return policy.rollout(frames, *repeated, keyed, num_samples=samples, reasoning=words, **SAMPLING)


def beyond_the_line(scene: Scene, paths: np.ndarray) -> np.ndarray:
    """Metres by which the paths' ends (..., T, 3) lie left of the lane line (negative: in the own lane)."""
    _, x, y, heading = scene.drive.at(T0)
    end = paths[..., -1, :2].reshape(-1, 2)
    c, s = np.cos(heading), np.sin(heading)
    wx, wy = x + c * end[:, 0] - s * end[:, 1], y + s * end[:, 0] + c * end[:, 1]
    guess = scene.road.guess(x, y, heading, end[:, 0], end[:, 1])
    return scene.road.locate(wx, wy, guess)[1].reshape(paths.shape[:-2])


def accuracy(policy: Policy, args: argparse.Namespace) -> None:
    """Part 1."""
    rows: dict[bool, list] = {True: [], False: []}
    for number in range(args.drives):
        rng = rng_of("judge", "drives", args.seed, number)
        slower = number % 2 == 0
        scene = Scene(noise.seed_of("judge", "drives", args.seed, number), any_attributes(rng), slower_car=slower)
        out = drive(policy, scene, [{camera: seen(scene, camera) for camera in FOUR_CAMERAS}], args.samples)
        truth = ego(scene.drive, T0)[3]
        straight = np.stack([0.1 * out.v0[0] * np.arange(1, 65), np.zeros(64)], -1)
        each = ade(distances(out.xyz[0][..., :2], truth))
        straight_on = ade(distances(straight[None], truth))[0]
        rows[slower].append((min_ade_of(each, 6), each.mean(), straight_on, out.complete.mean()))
    print(f"accuracy, {args.drives} held-out drives, metres")
    print(f"  {'':22}{'minADE_6':>10}{'ADE':>10}{'straight':>10}{'ratio':>8}{'complete':>10}")
    for name, part in (("slower car ahead", rows[True]), ("free road", rows[False]), ("all", rows[True] + rows[False])):
        best, mean, straight, said = np.mean(part, axis=0)
        print(f"  {name:22}{best:10.2f}{mean:10.2f}{straight:10.2f}{best / straight:8.2f}{said:10.2f}")


def rule(policy: Policy, args: argparse.Namespace) -> None:
    """Parts 2 and 3."""
    ends, shared, colour, pattern = [], [], [], []
    for number in range(args.drives):
        rng = rng_of("judge", "edits", args.seed, number)
        own = any_attributes(rng)
        scene = Scene(noise.seed_of("judge", "edits", args.seed, number), own, slower_car=True)
        rest = {camera: seen(scene, camera) for camera in FOUR_CAMERAS}
        views = [rest | {FRONT_WIDE: seen(repainted(scene, one), FRONT_WIDE)} for one in ALL]
        out = drive(policy, scene, views, args.samples)
        words = np.concatenate([out.tokens[ALL.index(own)]] * len(ALL))
        forced = drive(policy, scene, views, args.samples, words)
        ends.append(beyond_the_line(scene, out.xyz))
        shared.append(beyond_the_line(scene, forced.xyz))
        paths = dict(zip(ALL, out.xyz, strict=True))
        for one in ALL:
            if one.color == "white":
                colour.append(_apart(paths, one, Attributes(one.count, "yellow", one.pattern)))
            if one.count == "single" and one.pattern == "dashed":
                pattern.append(_apart(paths, one, Attributes("single", one.color, "solid")))
    ends, shared = np.array(ends), np.array(shared)  # (drives, markings, samples)
    print(f"the rule, {args.drives} held-out drives behind a slower car, ideal edits of the front wide camera")
    print(f"  {'':22}{'right':>8}{'drives':>8}{'same words':>12}{'beyond the line, m':>20}")
    kinds = (("single", "dashed"), ("single", "solid"), ("double", "dashed"), ("double", "solid"))
    for count, kind in kinds:
        of = [i for i, one in enumerate(ALL) if (one.count, one.pattern) == (count, kind)]
        _row(f"{count} {kind}", may_cross(ALL[of[0]]), ends[:, of], shared[:, of])
    kept = [i for i, one in enumerate(ALL) if not may_cross(one)]
    _row("all that forbid", False, ends[:, kept], shared[:, kept])
    print("  right: share of paths; drives: share of drives whose mean path is right")
    print(f"distance of paths, metres   white to yellow {np.mean(colour):.3f}   dashed to solid {np.mean(pattern):.3f}")


def _apart(paths: dict[Attributes, np.ndarray], one: Attributes, other: Attributes) -> float:
    return float(np.linalg.norm(paths[one] - paths[other], axis=-1).mean())


def _row(name: str, crosses: bool, free: np.ndarray, forced: np.ndarray) -> None:
    right = ((free > 0) == crosses).mean()
    drives = ((free.mean(-1) > 0) == crosses).mean()
    print(f"  {name:22}{right:8.3f}{drives:8.3f}{((forced > 0) == crosses).mean():12.3f}{free.mean():20.2f}")


def main(argv: list[str] | None = None) -> None:
    """Print both tables."""
    args = parser().parse_args(argv)
    if args.samples < 6:
        raise SystemExit("--samples: minADE_6 needs at least 6")
    policy = load_policy(args.checkpoints / "alpamayo", args.device, args.dtype)
    accuracy(policy, args)
    rule(policy, args)


if __name__ == "__main__":
    cli.run(main)
