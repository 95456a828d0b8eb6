"""What a configuration cannot mean, found while planning and not after hours of GPU work.

What the options of one section tell stands with their declaration (`Section.check`); here stands what only the whole
configuration tells: names that must agree, the clip sheet, the arms. Called by the Snakefile at every planning, where
there may be no torch.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from relane import layout
from relane.config.reading import nearest
from relane.config.sections.clip import Clip as ClipSection
from relane.config.sections.first_frame import FirstFrame
from relane.config.sections.lora import Lora
from relane.config.sections.plan import Drive
from relane.config.sections.sam2 import Sam2
from relane.config.sections.video import Video
from relane.data.sheet import Clip
from relane.drivers import DRIVERS, Sight, driver_module, sights
from relane.errors import InputError
from relane.training.filtering import SEPARATOR, slice_items, split_name

# As the wildcards of rules/dataset.smk and rules/lora.smk.
_DATASET, _LORA = re.compile(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*"), re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# What a folder of a LoRA has one of; see relane.models.flux_fill.
LORA_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")


def check(
    config: Mapping[str, Any],
    clips: Mapping[str, Clip],
    edit_arms: Iterable[str],
    drive_arms: Iterable[str],
    local: bool = True,
) -> None:
    """Raise InputError for the first thing in a configuration that cannot be carried out: its key, and what to do.

    config: validated (`relane.config.reading`). clips: the sheet's, by video. edit_arms, drive_arms: names of the arms.
    local: whether the configuration's paths can be looked at from here.
    """
    if config["run"] in layout.SHARED:
        raise InputError(
            f"config: run {config['run']!r}: results/{config['run']}/ holds what runs share; choose another"
        )
    edit_arms, drive_arms = list(edit_arms), list(drive_arms)
    drivable = any_drivable(config, clips)
    try:
        check_datasets(config, clips)
        check_lora_file(config, local)
        check_stages(config, edit_arms, drivable)
        check_arms(config, drive_arms)
        check_devices(config, edit_arms)
    except InputError as error:
        raise InputError(f"config: {error}") from None


def check_stages(config: Mapping[str, Any], edit_arms: list[str], drivable: bool) -> None:
    """The settings of each stage that has something to do. drivable: whether any clip can be driven."""
    clip, models = ClipSection.of(config["clip"]), config["checkpoints"]
    if drivable:
        clip.check_reach()
    if drivable and config["drive"]["enabled"]:
        check_drive(clip, Drive.of(config["drive"]), sights(config).values())
    Sam2.of(config["sam2"])
    if edit_arms:
        FirstFrame.of(config["first_frame"]).check_critic(models["qwen"])
        Video.of(config["video"]).check_id_lora(models["videopainter_id"])
    if config["loras"]:
        Lora.of(config["lora"])


def check_drivers(config: Mapping[str, Any]) -> None:
    """The driving models must be known, each named once."""
    for name in config["drivers"]:
        if name not in DRIVERS:
            raise InputError(f"config: drivers: {name!r} is no driving model{nearest(name, DRIVERS)}")
        if config["drivers"].count(name) > 1:
            raise InputError(f"config: drivers: {name!r} is named twice; name it once")


def any_drivable(config: Mapping[str, Any], clips: Mapping[str, Clip]) -> bool:
    """Whether any video has ego motion and is of a camera that the driving model reads."""
    read = {camera for sight in sights(config).values() for camera in sight.cameras}
    return any(one.drivable and one.camera in read for one in clips.values())


def check_drive(clip: ClipSection, drive: Drive, shown: Iterable[Sight]) -> None:
    """Whether the driving models can be shown what they need of clips of this kind."""
    shown = list(shown)
    asked, most = clip.instants, f"clip.max_frames {clip.max_frames} frames at {clip.fps:g} fps"
    # Of a slower clip than a model reads some frames would serve two of its slots, or stand off its clock.
    step_us = min((sight.frame_step_us for sight in shown if sight.frame_step_us), default=0)
    if step_us and clip.fps * step_us < 1e6 and not drive.allow_repeated_frames:
        raise InputError(
            f"clip.fps: at {clip.fps:g} frames a second a clip has too few for the driving model's slots "
            f"{step_us / 1e6:g} s apart; set clip.fps to {1e6 / step_us:g} or more, or, as the original study did, "
            "drive.allow_repeated_frames: true"
        )
    seconds = (clip.max_frames - 1) / clip.fps
    look_back_s = -min(sight.frames[0] for sight in shown) / 1e6
    if clip.anchor == "t0" and seconds < (max(asked) - min(asked)) / 1e6 + look_back_s:
        raise InputError(
            f"clip.t0_us: the instants {min(asked)} to {max(asked)} are further apart than a clip of {most} is long; "
            "raise clip.max_frames"
        )
    if clip.anchor == "start" and seconds + 0.5 / clip.fps < min(asked) / 1e6:
        raise InputError(
            f"clip.t0_us {min(asked)} is after every clip's end: {most} end at {seconds:.3f} s; "
            "raise clip.max_frames, or set clip.anchor to t0"
        )


def check_arms(config: Mapping[str, Any], drive_arms: list[str]) -> None:
    """The arms that the configuration names must be arms of the run."""
    for name in config["effects"]["action_unchanged"]:
        if name not in drive_arms:
            raise InputError(f"effects.action_unchanged: {name!r} is no arm of this run{nearest(name, drive_arms)}")


def check_devices(config: Mapping[str, Any], edit_arms: list[str]) -> None:
    """Options that only a GPU has, with a device that is the CPU by name. What `auto` will be, only a job knows."""
    options = [("sam2", "vos_optimized", "true")]
    if edit_arms:
        kinds = (("fp8", "true"), ("attention_backend", "flash_4"))
        options += [(section, *kind) for section in ("first_frame", "video") for kind in kinds]
    devices = {"sam2": "sam2", "first_frame": "painter", "video": "editor"}
    for section, key, value in options:
        device = devices[section]
        if config["devices"][device] == "cpu" and str(config[section][key]).lower() == value:
            raise InputError(f"{section}.{key} {value} needs a GPU, but devices.{device} is cpu; change one of the two")


def check_datasets(config: Mapping[str, Any], clips: Mapping[str, Clip]) -> None:
    """Datasets and LoRAs: their names, the slices of the sheet, the filters."""
    for name, part in config["datasets"].items():
        if not _DATASET.fullmatch(name):
            raise InputError(
                f"datasets.{name}: a dataset's name is made of letters, digits, '-' and single '_' (two begin "
                "a filter's suffix); rename it"
            )
        try:
            slice_items(list(clips), part["start"], part["limit"])
        except InputError:
            raise InputError(
                f"datasets.{name}.start {part['start']}: the clip sheet has {len(clips)} videos, from 0; "
                "choose an earlier start"
            ) from None
    for name, lora in config["loras"].items():
        if not _LORA.fullmatch(name):
            raise InputError(f"loras.{name}: a LoRA's name is made of letters, digits, '_' and '-'; rename it")
        key = f"loras.{name}.dataset {lora['dataset']!r}"
        try:
            base, _ = split_name(lora["dataset"])
        except InputError as error:
            raise InputError(f"{key}: after {SEPARATOR!r}: {error}") from None
        if base not in config["datasets"]:
            raise InputError(f"{key}: datasets has no {base!r}{nearest(base, config['datasets'])}")


def check_lora_file(config: Mapping[str, Any], local: bool = True) -> None:
    """The LoRA that painting names: one of `loras`, or weights that are there."""
    named = config["first_frame"]["lora"]
    if not named or not config["first_frame"]["lora_scale"] or named in config["loras"]:
        return
    path, key = Path(named), f"first_frame.lora {named!r}"
    if "{" in named:
        raise InputError(f"{key}: a path with braces cannot be a job's input; rename it")
    near = nearest(named, config["loras"]) if config["loras"] else ""
    if path.suffix != ".safetensors" and not path.is_dir():
        if path.exists():
            raise InputError(f"{key}: only .safetensors files are loaded; convert it, or name another")
        raise InputError(f"{key}: neither a name under loras nor a .safetensors file or folder that is there{near}")
    if local and path.suffix == ".safetensors" and not path.exists():
        raise InputError(f"{key}: no such file, and no name under loras{near}")
    if local and path.is_dir() and not any((path / name).is_file() for name in LORA_FILES):
        raise InputError(
            f"{key}: this folder has neither {' nor '.join(LORA_FILES)}; name the .safetensors file itself"
        )


# What needs which checkpoints


def window_of(cogvideox: str) -> int | None:
    """Frames of one window of a video model's folder, by its own configuration; None where it is not there to read."""
    try:
        config = json.loads((Path(cogvideox) / "transformer" / "config.json").read_text(encoding="utf-8"))
        return int(config["sample_frames"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


EDITS = ("first_frame", "edit_video")
# The checkpoints that jobs of a rule load; the second part may be left blank.
LOADS = {
    "segment_road": (("sam2",), ()),
    "dataset_frames": (("sam2",), ()),
    "caption_frames": (("qwen",), ()),
    "train_lora": (("flux_fill",), ()),
    "first_frame": (("flux_fill",), ("qwen",)),
    "edit_video": (("cogvideox", "videopainter"), ("videopainter_id",)),
}
# What jobs wait for that are planned only when the masks say which clips are to be edited.
WAIT_FOR = {
    "edits": EDITS,
    "instruction_report": (*EDITS, "evaluate_edit"),
    "quality": (*EDITS, "evaluate_edit"),
    "effects": (*EDITS, "drive_arm"),
    "drive": (*EDITS, "drive_arm"),
    "page": (*EDITS, "evaluate_edit", "drive_arm"),
}


def to_come(
    config: Mapping[str, Any], rules: Iterable[str], edit_arms: Iterable[str], clips: Mapping[str, Clip]
) -> set[str]:
    """Names of the rules of which a run will have jobs, of those of which jobs are planned so far."""
    rules = set(rules)
    if "collect_masks" in rules:
        rules |= {later for rule in rules for later in WAIT_FOR.get(rule, ())}
    if not list(edit_arms):
        rules -= {*EDITS, "evaluate_edit"}
    if not config["drive"]["enabled"] or not any_drivable(config, clips):
        rules -= {"drive_arm", "drive_arms"}
    return rules


def check_checkpoints(config: Mapping[str, Any], rules: Iterable[str]) -> None:
    """Raise InputError for a checkpoint that jobs of these rules (`to_come`) load and that is not there."""
    rules = set(rules)
    driving = (tuple(filter(None, (driver_module(name).CHECKPOINT for name in sights(config)))), ())
    for rule, (needed, optional) in (LOADS | dict.fromkeys(("drive_arm", "drive_arms"), driving)).items():
        for name in (*needed, *optional) if rule in rules else ():
            folder = config["checkpoints"][name]
            if not folder and name in needed:
                raise InputError(f"config: checkpoints.{name} is blank, but jobs of {rule} load it; name its folder")
            if folder and not Path(folder).exists():
                raise InputError(
                    f"config: checkpoints.{name} {folder!r}: no such folder, but jobs of {rule} load it; "
                    "scripts/fetch_checkpoints.py downloads checkpoints"
                )


def check_edits(config: Mapping[str, Any]) -> None:
    """Raise InputError where no clip, or not every clip, can be edited: windows that are longer than clips may be."""
    window = window_of(config["checkpoints"]["cogvideox"])
    if window is None:
        return
    # It imports numpy, which planning needs for nothing else.
    from relane.editors.videopainter.options import Options

    clip = config["clip"]
    for key in ("min_frames", "max_frames"):
        if clip[key] < window:
            raise InputError(
                f"config: clip.{key} {clip[key]}: a clip of so few frames cannot be edited, because one window of "
                f"{config['checkpoints']['cogvideox']} is {window} frames; set it to {window} or more"
            )
    try:
        Options.of_video(Video.of(config["video"])).schedule(clip["max_frames"], window)
    except InputError as error:
        raise InputError(f"config: video: {error}") from None
