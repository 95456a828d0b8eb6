"""Drive arms of one clip: edited camera videos in, K sampled paths with their reasoning out, for each arm.

Several arms go through the model in one batch, which takes hardly longer than one; --arm, --noise-key, --output and
--vis-data then have a value an arm, and --videos the first arm's videos, then the second's, and so on.

The clip's other cameras, its ego motion and the recorded future come from its data set. Frames are taken
by time, the last ones at or before each instant that the driver reads. Random numbers are keyed by (seed, noise key,
clip, t0, sample, step): every arm that is run with the same noise key shares them, however long its replies are. With
--record-failures true a clip that cannot be driven at t0 leaves a record that says why (`success: false`) and an empty
NPZ. A reply that is cut at its limit is recorded as incomplete; an arm of which no reply can be read fails the job.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relane import cli
from relane.arms import COMMON_NOISE, ORIGINAL
from relane.config.arguments import add_options
from relane.config.sections.clip import Clip
from relane.config.sections.driving import Driving
from relane.drivers import DRIVERS, driver_module
from relane.errors import InputError, UndrivableError
from relane.models import memory_stats

if TYPE_CHECKING:
    from relane.data import DrivingClip
    from relane.drivers import Answer, Driver
    from relane.drivers.scene import Scene

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.workers).
LOADS = ("driver", "checkpoint", "device", "dtype")
LESS_MEMORY = "drive.together: false, a smaller drive.num_traj_samples, drive.dtype: bfloat16"


def parser() -> argparse.ArgumentParser:
    """Flags of some arms of one clip."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--pai-root", required=True, help="PhysicalAI-AV folder, hub cache, hf://owner/name@revision; folder of MP4s")
    add("--clip-id", required=True, help="clip of that data set")
    add("--videos", nargs="+", required=True, help="edited videos of this clip, named <clip_id>.<camera>...mp4")
    add("--clip-jsons", nargs="*", default=[], help="the clips' JSON with t_us, in the order of an arm's --videos")
    add("--video-start-us", type=int, default=0, help="time of the first frame where no clip JSON is given")
    add("--arm", nargs="+", required=True, help="names of the arms, for the record")
    add(
        "--noise-key",
        nargs="+",
        default=[COMMON_NOISE],
        help="arms with the same key share their noise; the floor has another",
    )
    add("--editor", nargs="*", default=[], help="what edited each arm, for the record: a backend, external or none")
    add("--driver", choices=DRIVERS, default=next(iter(DRIVERS)), help="which driving model")
    add("--checkpoint", default="", help="its checkpoint folder")
    add_options(p, Driving)
    p.set_defaults(record_failures=False)  # by hand a failure is a failure
    add("--t0-us", type=int, default=Clip().t0_us, help="planning time on the data set's clock, microseconds")
    add("--reasoning", choices=("free", "shared"), default="free", help="shared: the original arm's words for all arms")
    add("--reasoning-from", help="inference JSON of the original arm, for --reasoning shared")
    add_options(p, Clip, only=("frame_choice",))
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--output", nargs="+", required=True, help="inference JSON to write")
    add("--vis-data", nargs="+", required=True, help="NPZ to write: paths, truth, history, frames")
    return p


@dataclass(frozen=True)
class Models:
    """What depends on the driver, checkpoint, device and dtype flags alone."""

    driver: "Driver"
    device: str
    dtype: str


def load(args: argparse.Namespace) -> Models:
    """Load the driving model."""
    from relane.models.device import choose_device

    device = str(choose_device(args.device))
    return Models(driver_module(args.driver).load(args.checkpoint, device, args.dtype), device, args.dtype)


def run(args: argparse.Namespace, models: Models) -> None:
    """Roll out the arms and write their files. Raises InputError before anything is written."""
    from relane.io.files import write_json
    from relane.io.npz import save_npz

    check(args)
    arms = arms_of(args)
    driven = list(_drive(args, arms, models))  # all of them, before the first file
    for arm, (record, arrays) in zip(arms, driven, strict=True):
        save_npz(arm.vis_data, arrays)
        write_json(arm.output, record)


def arms_of(args: argparse.Namespace) -> list[argparse.Namespace]:
    """An item an arm: the settings that all share, with its own name, noise, videos and files."""
    cameras = len(args.videos) // len(args.arm)
    return [
        argparse.Namespace(
            **vars(args)
            | {name: getattr(args, name)[number] for name in ("arm", "noise_key", "output", "vis_data")}
            | {"editor": args.editor[number] if args.editor else "unknown"}
            | {"videos": args.videos[number * cameras : (number + 1) * cameras]}
        )
        for number in range(len(args.arm))
    ]


def _drive(args: argparse.Namespace, arms: list[argparse.Namespace], models: Models) -> Iterator[tuple[dict, dict]]:
    """Record and arrays of each arm; an arm that cannot be driven has a record that says why, and no arrays."""
    import functools

    from relane.data import open_clip
    from relane.drivers.records import read_words, vis_data
    from relane.io.timer import Timer

    memory_stats.reset_gpu_peaks()
    timer = Timer()
    with timer("read"):
        clip = functools.cache(lambda: open_clip(args.pai_root, args.clip_id))
        found = [_scene(arm, clip) for arm in arms]
        words = None
        if args.reasoning == "shared" and args.reasoning_from:
            words = read_words(args.reasoning_from, args.clip_id, args.t0_us, args.num_traj_samples)
    driven = [(arm, scene) for arm, scene in zip(arms, found, strict=True) if not isinstance(scene, UndrivableError)]
    answers: Iterator[Answer] = iter(())
    seconds = timer.seconds
    if driven:
        keys = [(args.seed, arm.noise_key, args.clip_id, args.t0_us) for arm, _ in driven]
        made = models.driver.sample([scene for _, scene in driven], keys, args.num_traj_samples, vars(args), words)
        answers, seconds = iter(made), seconds | made[0].seconds
    # Each arm's part of the call.
    seconds = {name: value / max(1, len(driven)) for name, value in (seconds | {"total": timer.total}).items()}
    together = [arm.arm for arm, _ in driven]
    for arm, scene in zip(arms, found, strict=True):
        if isinstance(scene, UndrivableError):
            print(f"{arm.arm} is not driven: {scene}", file=sys.stderr)
            yield failure(arm, scene), {}
            continue
        answer = next(answers)
        record = result(arm, models, scene, answer, seconds)
        yield record | {"arms_in_call": together}, vis_data(scene, answer, args.save_frames)


def _scene(args: argparse.Namespace, clip: "Callable[[], DrivingClip]") -> "Scene | UndrivableError":
    """What an arm shows the model; where its clip cannot be driven at t0, the reason, if it is to be recorded."""
    from relane.drivers.scene import FrameRules, assemble

    rules = FrameRules(args.frame_choice, args.allow_late_frames, args.allow_repeated_frames)
    sight = driver_module(args.driver).sight(vars(args))
    try:
        return assemble(clip(), _edited(args), sight, args.t0_us, rules, _label(args))
    except UndrivableError as error:
        if not args.record_failures:
            raise
        return error


def _label(args: argparse.Namespace) -> str:
    return f"arm {args.arm}, clip {args.clip_id}, t0_us {args.t0_us}"


def check(args: argparse.Namespace) -> None:
    """Raise InputError for flags that do not go together."""
    arms = len(args.arm)
    for name in ("noise_key", "output", "vis_data", *(["editor"] if args.editor else [])):
        if len(getattr(args, name)) != arms:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag}: {len(getattr(args, name))} given for {arms} --arm; give one each")
    if len(args.videos) % arms:
        raise InputError(f"--videos: {len(args.videos)} given for {arms} --arm; give as many for each")
    if args.clip_jsons and len(args.clip_jsons) * arms != len(args.videos):
        raise InputError(
            f"--clip-jsons: {len(args.clip_jsons)} given for {len(args.videos) // arms} --videos; give one each"
        )
    if args.reasoning == "shared" and arms > 1:
        raise InputError("--reasoning shared: the original arm's words are another arm's input; drive one arm a call")
    if args.reasoning == "shared" and not args.reasoning_from and args.arm != [ORIGINAL]:
        raise InputError("--reasoning shared needs --reasoning-from, the original arm's inference JSON")


def _edited(args: argparse.Namespace) -> list:
    from relane.drivers.scene import open_edited

    sidecars = args.clip_jsons or [None] * len(args.videos)
    pairs = zip(args.videos, sidecars, strict=True)
    return [open_edited(video, sidecar, args.video_start_us) for video, sidecar in pairs]


def result(
    args: argparse.Namespace, models: Models, scene: "Scene", answer: "Answer", seconds: dict[str, float]
) -> dict[str, Any]:
    """The inference JSON: the thesis's fields first, then what a statistic needs to be redone."""
    from relane.drivers.records import accuracy, backend, frame_times, seed_metrics, temporal_config

    figures, peaks = accuracy(scene, answer, scene.vehicle), memory_stats.peaks()
    return {
        **_item(args),
        "min_ade_meters": figures["min_ade_k"],
        "reasoning_traces": [reply.get("cot", "") for reply in answer.texts],
        "temporal_config": temporal_config(scene),
        "metrics": {"inference_seconds": seconds["total"], **peaks} | seed_metrics(seconds["total"], peaks),
        "success": True,
        **_settings(args),
        "noise_scheme": "keyed by (seed, noise_key, clip_id, t0_us, sample[, step])",
        "cameras": list(scene.frames),
        "frame_choice": args.frame_choice,
        "frame_times": frame_times(scene),
        "frame_notes": list(scene.frame_notes),
        "complete": answer.complete.tolist(),
        "complete_share": float(answer.complete.mean()),
        "replies": answer.texts,
        **answer.record,
        **figures,
        "backend": backend(DRIVERS[args.driver], models.dtype, models.device),
        "checkpoint": Path(args.checkpoint).name,
        "seconds": seconds,
        **peaks,
    }


def failure(args: argparse.Namespace, error: UndrivableError) -> dict[str, Any]:
    """The inference JSON of a clip that could not be driven: what was asked for, and why it failed."""
    figures = {"min_ade_meters": None, "reasoning_traces": [], "success": False, "error": str(error)}
    return {**_item(args), **figures, **_settings(args)}


def _item(args: argparse.Namespace) -> dict[str, Any]:
    from relane.names import parse_name

    clip_id, camera = parse_name(args.videos[0])
    return {
        "video_id": f"{clip_id}.{camera}",
        "video_path": args.videos[0],
        "clip_id": clip_id,
        "camera_name": camera,
        "num_trajectories": args.num_traj_samples,
    }


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "driver": args.driver,
        "arm": args.arm,
        "editor": args.editor,
        "videos": args.videos,
        "clip_jsons": args.clip_jsons,
        "pai_root": args.pai_root,
        "k": args.num_traj_samples,
        "seed": args.seed,
        "noise_key": args.noise_key,
        "t0_us": args.t0_us,
        "reasoning": args.reasoning,
        "reasoning_from": args.reasoning_from if args.reasoning == "shared" else None,
    }


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    args = parser().parse_args(argv)
    check(args)  # before minutes of loading
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
