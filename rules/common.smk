"""What every stage shares: the clips, the instructions, narrow parameters and code digests.

INPUTS:  config (config/config.yaml and what is laid over it), the clip sheet, the instructions sheet
OUTPUTS: none; the names below are what the other rule files may use
"""

import dataclasses
import functools
import json
import os
import shlex
import sys

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from relane import config as relane_config
from relane import edited as relane_edited
from relane import instructions as relane_instructions
from relane import optional as relane_optional
from relane import origin
from relane.addresses import hide, hide_all
from relane.digest import code_digest, lora_digest, weights_digest
from relane.errors import InputError
from relane.names import READ_BY_DRIVER
from relane.sheet import Clip, check_clips, not_driven, read_sheet
from relane.sources import resolve_local
from relane.warm import client as warm_workers
from relane.warm.lease import started

# The interpreter that runs Snakemake runs the scripts too, whether or not the environment is activated.
PYTHON = sys.executable
SCRIPTS = Path(workflow.basedir) / "scripts"
OWNER = os.getpid()


def read_inputs() -> tuple[dict[str, Clip], dict[str, str]]:
    """The clips by video name and the instructions' texts by slug; nothing here asks the network."""
    relane_config.take_words(config)
    relane_config.validate(config)
    # From here on no address holds a login or token: those go to the jobs by the environment alone.
    config.update(hide_all(dict(config)))
    sources = config["clips"] if isinstance(config["clips"], list) else [config["clips"]]
    clips = []
    for source in sources:
        clips += read_sheet(source) if str(source).endswith(".csv") else resolve_local(str(source))
    # Only videos that were edited elsewhere: then there is nothing to ask an editor for.
    nothing = config["drive"]["videos"] and not config["instructions"].strip()
    wanted = [] if nothing else relane_instructions.load(config["instructions"])
    clips = [dataclasses.replace(clip, uri=hide(clip.uri)) for clip in check_clips(clips)]
    return {clip.video: clip for clip in clips}, {item.slug: item.text for item in wanted}


def read_edited() -> dict[tuple[str, str], relane_edited.EditedFile]:
    """Videos edited elsewhere, by arm and video. A bucket prefix is listed here; a sheet asks no network."""
    if not config["drive"]["videos"]:
        return {}
    found = relane_edited.load(config["drive"]["videos"], config["drive"]["video_name"])
    chosen = relane_edited.of_clips(found, DRIVABLE, EDIT_ARMS)
    relane_edited.check_local(chosen)
    hidden = [dataclasses.replace(file, uri=hide(file.uri), sidecar=hide(file.sidecar)) for file in chosen]
    return {(file.arm, file.video): file for file in hidden}


try:
    CLIPS, INSTRUCTIONS = read_inputs()
    # Videos with ego motion, of cameras that the driving model reads.
    READ = READ_BY_DRIVER[config["drive"]["cameras"]]
    DRIVABLE = [video for video, clip in CLIPS.items() if clip.drivable and clip.camera in READ]
    # Sham is an edit like any other, but asked for the markings that the clip already has.
    EDIT_ARMS = (["sham"] if config["arms"]["sham"] else []) + list(INSTRUCTIONS)
    FOREIGN = read_edited()
except InputError as error:
    raise WorkflowError(str(error)) from None

# What a job is: the configuration without what says only where things lie and run. `params:` are made of it; of the rest
# a rule reads {config[...]} in `shell:`, which Snakemake does not compare.
IDENTITY = relane_config.identity(config)

# Model scripts run on a GPU of their own, in a worker that keeps their models (docs/workers.md). Rules name it in `shell:`
# and never in `params:`: where a job runs is no reason to run it again.
ON_GPU = " ".join(
    [shlex.quote(PYTHON), shlex.quote(str(SCRIPTS / "on_gpu.py")), f"--owner={OWNER}"]
    + [relane_config.flags(config["workers"])]
)

# The same for scripts that need none: both write into a stage's JSON what made it.
RECORDED = f"{shlex.quote(PYTHON)} {shlex.quote(str(SCRIPTS / 'recorded.py'))}"

RUN = config["run"]
FOREIGN_ARMS = list(dict.fromkeys(arm for arm, _ in FOREIGN))
# The floor is the original once more with other noise: it says how far the model moves by itself.
DRIVE_ARMS = ["original", *(["floor"] if config["arms"]["floor"] else []), *EDIT_ARMS, *FOREIGN_ARMS]


# The instants to plan at. The first gives files their plain names, any further one adds `_t0_<microseconds>` to its own.
T0_US = config["clip"]["t0_us"] if isinstance(config["clip"]["t0_us"], list) else [config["clip"]["t0_us"]]
if config["clip"]["anchor"] == "t0" and DRIVABLE:
    # The driver looks back 0.3 s from its instant, so the window that ends at the last must begin before the first.
    if (config["clip"]["max_frames"] - 1) / config["clip"]["fps"] < (max(T0_US) - min(T0_US)) / 1e6 + 0.3:
        raise WorkflowError(
            f"clip.t0_us: the instants {min(T0_US)} to {max(T0_US)} are further apart than a clip of clip.max_frames "
            f"{config['clip']['max_frames']} frames at {config['clip']['fps']} fps is long; raise clip.max_frames"
        )


wildcard_constraints:
    run=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    video=r"[A-Za-z0-9_-][A-Za-z0-9._-]*",
    clip=r"[A-Za-z0-9_-][A-Za-z0-9._-]*",
    # The original and floor arms and those edited elsewhere stand beside the instructions, but no editor of ours made them.
    instruction=rf"(?!(?:{'|'.join(['original', 'floor', *FOREIGN_ARMS])})/)[a-z0-9][a-z0-9-]*",
    foreign_arm="|".join(FOREIGN_ARMS) or "(?!)",
    arm=r"[a-z0-9][a-z0-9-]*",


localrules:
    all,


def end_workers() -> None:
    """Let the workers go that no other run uses. They would by themselves, soon after this process has ended."""
    if config["workers"]["enabled"]:
        warm_workers.stop_all((OWNER, started(OWNER)))


def flags(section: str, leave_out: tuple[str, ...] = ()) -> str:
    """One section of the configuration as a script's flags, without what is no reason to run again."""
    return relane_config.flags(IDENTITY[section], leave_out)


def code(script: str) -> str:
    """The digest of a script and of the library modules that it imports."""
    return code_digest(SCRIPTS / script)


def weights(*names: str):
    """The digests of checkpoints, so that other weights invalidate what they made, wherever they lie.

    A function of the job, because weights are tens of gigabytes: those of stages that do not run are not looked at.
    """
    return lambda wildcards: json.dumps(checkpoint_digests(names))


def checkpoint_digests(names) -> dict[str, str]:
    """The digests of those checkpoints that are configured."""
    return {name: weights_digest(config["checkpoints"][name]) for name in sorted(names) if config["checkpoints"][name]}


VIDEOS_OF: dict[str, list[str]] = {}
for _video, _clip in CLIPS.items():
    VIDEOS_OF.setdefault(_clip.clip_id, []).append(_video)


def videos_of(clip: str) -> list[str]:
    """The videos (cameras) of one clip that the sheet names."""
    return VIDEOS_OF.get(clip, [])


def source_flags(video: str) -> str:
    """Where a video comes from, as a script's flags; what the sheet leaves blank is left out."""
    clip = CLIPS[video]
    uri, pai_root = (origin.local_path(place) or place for place in (clip.uri, clip.pai_root))
    source = {"clip_id": clip.clip_id, "camera": clip.camera, "uri": uri, "pai_root": pai_root}
    return relane_config.flags({**{k: v for k, v in source.items() if v}, "checksum": clip.checksum or None})


@functools.cache
def source_contents() -> dict[str, str]:
    """What every clip's source holds, all looked at together, when the first job asks."""
    return origin.source_contents(CLIPS.values())


def source_content(wildcards) -> str:
    """What a video's source holds: its files are `ancient`, because only their content is a reason to run again."""
    return source_contents()[wildcards.video]


def driven_content(wildcards) -> str:
    """What the driving stage reads of a clip in its data set."""
    clip = CLIPS[videos_of(wildcards.clip)[0]]
    return origin.driven_content(clip.pai_root, clip.clip_id, config["drive"]["cameras"])
