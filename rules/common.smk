"""What every stage shares: the clips, the instructions, narrow parameters and code digests.

INPUTS:  config (config/config.yaml and what is laid over it), the clip sheet, the instructions sheet
OUTPUTS: none; the names below are what the other rule files may use
"""

import dataclasses
import datetime
import functools
import json
import os
import re
import shlex
import sys

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from relane import arms as relane_arms
from relane.data import external as relane_edited
from relane.prompts import instructions as relane_instructions
from relane import layout
from relane.workflow import optional as relane_optional
from relane.data import origin
from relane.workflow import paths as relane_paths
from relane.addresses import hide, hide_all
from relane.config import arguments, reading
from relane.workflow import checks
from relane.config.sections.clip import Clip as ClipSection
from relane.config.sections.plan import DrivePlan
from relane.data import data_set, faults, module_name
from relane.workflow.code_digest import code_digest
from relane.io.weights_digest import lora_digest, weights_digest
from relane.errors import InputError
from relane.drivers import DRIVERS, driver_module, sights
from relane.editors import EDITORS, editor_module
from relane.painters import PAINTERS, painter_module
from relane.data.sheet import Clip, check_clips, not_driven, read_sheet
from relane.data.sources import resolve_local
from relane.workers import client as warm_workers
from relane.workers import places
from relane.workers.lease import started

# The interpreter that runs Snakemake runs the scripts too, whether or not the environment is activated.
PYTHON = sys.executable
SCRIPTS = Path(workflow.basedir) / "scripts"
OWNER = os.getpid()
# Whether the jobs' files are on this machine's disks; a bucket's are not to be looked at from here.
LOCAL = workflow.storage_settings.default_storage_provider is None


def stamp_run() -> None:
    """With run_stamp, a run of its own each time. The jobs' own processes are handed its whole name and stamp nothing."""
    if config["run_stamp"] and workflow.is_main_process:
        config["run"] = f"{config['run']}_{datetime.datetime.now(datetime.timezone.utc):%Y%m%d_%H%M%S}"
        config["run_stamp"] = False
        settings = workflow.config_settings
        settings.config_args = [*(settings.config_args or []), f"run='{config['run']}'", "run_stamp=false"]


def read_inputs() -> tuple[dict[str, Clip], dict[str, str]]:
    """The clips by video name and the instructions' texts by slug; nothing here asks the network."""
    given = workflow.config_settings.config_args or []
    reading.take_words(config, given=reading.words_given(given))
    reading.validate(config)
    # From here on no address holds a login or token: those go to the jobs by the environment alone.
    config.update(hide_all(dict(config)))
    relane_paths.find_paths(config, Path(workflow.basedir))
    stamp_run()
    sources = config["clips"] if isinstance(config["clips"], list) else [config["clips"]]
    clips = []
    for source in sources:
        clips += read_sheet(source) if str(source).endswith(".csv") else resolve_local(str(source))
    clips = [relane_paths.of_clip(clip, Path(workflow.basedir)) for clip in clips]
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
    chosen = relane_edited.of_clips(found, DRIVABLE, [name for name, arm in MADE_HERE.items() if arm.painted])
    if workflow.is_main_process:
        relane_edited.check_sizes(chosen, remote=not config["drive"]["videos"].endswith(".csv"))
    hidden = [dataclasses.replace(file, uri=hide(file.uri), sidecar=hide(file.sidecar)) for file in chosen]
    return {(file.arm, file.video): file for file in hidden}


try:
    CLIPS, INSTRUCTIONS = read_inputs()
    # Videos with ego motion, of cameras that a driving model reads.
    checks.check_drivers(config)
    SIGHTS = sights(config)
    READ = {camera for sight in SIGHTS.values() for camera in sight.cameras}
    # A dictionary, because every driving job looks itself up in it.
    DRIVABLE = {video: clip for video, clip in CLIPS.items() if clip.drivable and clip.camera in READ}
    EDITOR = next(iter(EDITORS))
    MADE_HERE = relane_arms.arms_of(config["arms"], INSTRUCTIONS, EDITOR)
    EXTERNAL = read_edited()
    ARMS = relane_arms.arms_of(config["arms"], INSTRUCTIONS, EDITOR, external=[arm for arm, _ in EXTERNAL])
    EDIT_ARMS = [name for name, arm in ARMS.items() if arm.painted]
    EXTERNAL_ARMS = [name for name in ARMS if name not in MADE_HERE]
    if workflow.is_main_process:
        checks.check(config, CLIPS, EDIT_ARMS, list(ARMS), LOCAL)
except InputError as error:
    raise WorkflowError(str(error)) from None

# What a job is: the configuration without what says only where things lie and run. `params:` are made of it; of the rest
# a rule reads {config[...]} in `shell:`, which Snakemake does not compare.
IDENTITY = reading.identity(config)

# Model scripts run on a GPU of their own, in a worker that keeps their models (docs/workers.md). Rules name it in `shell:`
# and never in `params:`: where a job runs is no reason to run it again.
ON_GPU = " ".join(
    [shlex.quote(PYTHON), shlex.quote(str(SCRIPTS / "on_gpu.py")), f"--owner={OWNER}"]
    + [arguments.flags(config["workers"])]
)

# The same for scripts that need none: both write into a stage's JSON what made it.
RECORDED = f"{shlex.quote(PYTHON)} {shlex.quote(str(SCRIPTS / 'recorded.py'))}"

# What becomes of a source that cannot be used is no reason to use another one again.
RECORD_FAILURES = arguments.flags({"record_failures": config["clip"]["record_failures"]})

RUN = config["run"]
# The instants to plan at.
T0_US = ClipSection.of(config["clip"]).instants


wildcard_constraints:
    run=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    video=r"[A-Za-z0-9_-][A-Za-z0-9._-]*",
    clip=r"[A-Za-z0-9_-][A-Za-z0-9._-]*",
    # Arms that no editor of ours makes have their videos beside those of the instructions.
    instruction=rf"(?!(?:{'|'.join([relane_arms.ORIGINAL, relane_arms.FLOOR, *EXTERNAL_ARMS])})/)[a-z0-9][a-z0-9-]*",
    external="|".join(EXTERNAL_ARMS) or "(?!)",
    arm=r"[a-z0-9][a-z0-9-]*",
    driver="|".join(SIGHTS),


localrules:
    all,


def grows(mem_mb: int):
    """Host memory in MB as a resource: half as much again with every try, where a scheduler ends what takes more."""
    return lambda wildcards, attempt: int(mem_mb * (1 + attempt) / 2)


def end_workers() -> None:
    """Let the workers go that no other run uses. They would by themselves, soon after this process has ended."""
    if config["workers"]["enabled"]:
        try:
            warm_workers.stop_all((OWNER, started(OWNER)))
        except InputError as error:
            raise WorkflowError(str(error)) from None


def as_is(text: str):
    """A text as a parameter. In a plain one Snakemake would take braces for a wildcard."""
    return lambda wildcards: text


def as_inputs(files: list[str]) -> list[str]:
    """Local files as inputs of a job. One with braces in its name cannot be declared, for the same reason.

    The job reads it all the same; its checksum is among the job's parameters, and whether it is there is asked here.
    """
    braces = [file for file in files if re.search(r"\{.*\}", file)]
    for file in braces:
        if LOCAL and not Path(file).exists():
            raise WorkflowError(f"{file}: no such file")
    return [file for file in files if file not in braces]


def flags(section: str, leave_out: tuple[str, ...] = ()):
    """One section of the configuration as a script's flags, without what is no reason to run again."""
    return as_is(arguments.flags(IDENTITY[section], leave_out))


def code(script: str | Path, *modules: str) -> str:
    """The digest of a script (by its name in `scripts`, or its path) and of the library modules that it imports.

    modules: those that it imports by a name which only the run knows.
    """
    return code_digest(SCRIPTS / script, *modules)


def weights(*names: str):
    """The digests of checkpoints, so that other weights invalidate what they made, wherever they lie.

    A function of the job, because weights are tens of gigabytes: those of stages that do not run are not looked at.
    """
    return lambda wildcards: json.dumps(checkpoint_digests(names))


def checkpoint_digests(names) -> dict[str, str]:
    """The digests of those checkpoints that are configured."""
    configured = {name: config["checkpoints"][name] for name in sorted(names) if config["checkpoints"][name]}
    return {
        name: (lora_digest if name == "videopainter_id" else weights_digest)(path) for name, path in configured.items()
    }


def record_flags(records: str | list[str]) -> str:
    """The records of a job that get `made_by`, as flags of on_gpu.py."""
    return " ".join(shlex.quote(f"--record={path}") for path in ([records] if isinstance(records, str) else records))


VIDEOS_OF: dict[str, list[str]] = {}
for _video, _clip in CLIPS.items():
    VIDEOS_OF.setdefault(_clip.clip_id, []).append(_video)


def videos_of(clip: str) -> list[str]:
    """The videos (cameras) of one clip that the sheet names."""
    return VIDEOS_OF.get(clip, [])


# The drivable videos of the clips of which an edited video came from elsewhere: what their original arms show.
EXTERNAL_CLIPS = [
    video
    for clip_id in dict.fromkeys(CLIPS[video].clip_id for _, video in EXTERNAL)
    for video in VIDEOS_OF[clip_id]
    if video in DRIVABLE
]


def source_flags(video: str) -> str:
    """Where a video comes from, as a script's flags; what the sheet leaves blank is left out."""
    clip = CLIPS[video]
    uri, pai_root = (origin.local_path(place) or place for place in (clip.uri, clip.pai_root))
    source = {"clip_id": clip.clip_id, "camera": clip.camera, "uri": uri, "pai_root": pai_root}
    return arguments.flags({**{k: v for k, v in source.items() if v}, "checksum": clip.checksum or None})


@functools.cache
def source_contents() -> dict[str, str]:
    """What every clip's source holds, all looked at together, when the first job asks."""
    return origin.source_contents(CLIPS.values())


def source_content(wildcards) -> str:
    """What a video's source holds: its files are `ancient`, because only their content is a reason to run again."""
    clip, held = CLIPS[wildcards.video], source_contents()[wildcards.video]
    times = data_set(clip.pai_root).times_content(clip.pai_root, clip.clip_id, clip.camera) if clip.pai_root else ""
    return f"{held} {times}" if times else held


def driven_content(wildcards) -> str:
    """What the driving stage reads of a clip in its data set."""
    root = CLIPS[videos_of(wildcards.clip)[0]].pai_root
    return data_set(root).content(root, wildcards.clip, SIGHTS[wildcards.driver].cameras)


def check_edits() -> None:
    """Stop the plan where clips of these settings cannot be edited; asked only where something is to be."""
    try:
        checks.check_edits(config)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def check_checkpoints() -> None:
    """Before the first job of a real run on this machine: the weights and packages of all that is to come are there."""
    if workflow.is_main_process and workflow.local_exec:
        planned = {job.rule.name for job in workflow.dag.needrun_jobs()}
        try:
            if config["workers"]["enabled"]:
                places.folder()
            rules_to_come = checks.to_come(config, planned, EDIT_ARMS, CLIPS)
            checks.check_checkpoints(config, rules_to_come)
            relane_optional.check_packages(config, rules_to_come)
        except InputError as error:
            raise WorkflowError(str(error)) from None
