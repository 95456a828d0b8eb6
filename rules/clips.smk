"""Clips: every source at one rate and size, with the true time of each frame.

INPUTS:  the sources that the clip sheet names (files, gs:// objects, PhysicalAI-AV datasets)
OUTPUTS: results/{run}/clips/{video}.mp4    H.264, yuv420p, constant rate
         results/{run}/clips/{video}.json   source, fps, frames, size, sha256, time of each frame
         results/{run}/vp/original/...      the clip through the writer once more: the arm without an edit
"""

from snakemake.io import IOFile


def local_source(wildcards) -> list[str]:
    """The source as an input file where it is one; objects and streams are fetched by the job itself."""
    clip = CLIPS.get(wildcards.video)
    if clip is None:
        raise WorkflowError(f"{wildcards.video}: no such video in {config['clips']}")
    path = origin.local_path(clip.uri)
    return as_inputs([path]) if path else []


LAST_T0_US = max(T0_US)  # a clip's window may end here


def clip_flags(wildcards) -> str:
    """The clip section; only a clip that can be driven has an instant to end its window at."""
    of_driven = {} if wildcards.video in DRIVABLE else {"anchor": "start", "frame_choice": "nearest"}
    return arguments.flags({**IDENTITY["clip"], **of_driven}, leave_out=("t0_us",))


def clip_instant(wildcards) -> int | None:
    """What of the last instant decides a clip's frames: nothing where none is driven, else the window's end, or, from
    the start, on which grid of times it lies."""
    if wildcards.video not in DRIVABLE:
        return None
    period_us = 1e6 / config["clip"]["fps"]
    on_grid = config["clip"]["anchor"] == "start" and period_us.is_integer()
    return LAST_T0_US % int(period_us) if on_grid else LAST_T0_US


def length_asked(wildcards) -> str:
    """Why clip.min_frames makes a clip again: it has become too short, or was left out under another value.

    Else what stands in its record of parameters already, so that nothing differs.
    """
    sidecar, least = layout.CLIP_JSON.format(**wildcards), config["clip"]["min_frames"]
    try:
        clip = json.loads(Path(sidecar).read_text(encoding="utf-8"))
        frames, left_out_at = clip["frames"], clip.get("min_frames", least)
    except (OSError, ValueError, KeyError, TypeError):  # not made yet
        return ""
    skipped = clip.get("status") == "skipped"
    if left_out_at != least if skipped else frames < least:
        return f"min_frames {least}"
    recorded = workflow.persistence.params(IOFile(sidecar)) or []
    return next((text.strip("'") for text in recorded if re.fullmatch(r"'min_frames \d+'", text)), "")


rule prepare_clip:
    """Decode by true frame times, resample by time to clip.fps, write one H.264 file and its sidecar."""
    input:
        ancient(local_source),
    output:
        video=layout.CLIP,
        sidecar=layout.CLIP_JSON,
    log:
        "logs/{run}/clips/{video}.log",
    benchmark:
        "benchmarks/results/{run}/clips/{video}.tsv"
    priority: 100
    retries: 1
    resources:
        network=1,
        last_attempt=lambda wildcards, attempt: int(attempt > 1),
    params:
        flags=clip_flags,
        instant=clip_instant,
        source=lambda wildcards: source_flags(wildcards.video),
        content=source_content,
        length=length_asked,
        code=code("prepare_clip.py"),
    shell:
        "{RECORDED} --record {output.sidecar:q}"
        " {SCRIPTS:q}/prepare_clip.py {params.source} {params.flags} --t0-us {LAST_T0_US}"
        " --min-frames {config[clip][min_frames]} {RECORD_FAILURES} --last-attempt {resources.last_attempt}"
        " --output {output.video:q} --sidecar {output.sidecar:q} > {log:q} 2>&1"


rule reencode_original:
    """The original arm goes through the same codec as the edits, so that the codec is not part of an effect."""
    input:
        layout.CLIP,
    output:
        video=layout.ORIGINAL,
        sidecar=layout.ORIGINAL_JSON,
    log:
        "logs/{run}/original/{video}.log",
    benchmark:
        "benchmarks/results/{run}/original/{video}.tsv"
    priority: 95
    params:
        crf=config["video"]["crf"],
        code=code("reencode_clip.py"),
    shell:
        "{RECORDED} --record {output.sidecar:q}"
        " {SCRIPTS:q}/reencode_clip.py"
        " --clip {input:q} --crf {params.crf} --output {output.video:q} > {log:q} 2>&1"


checkpoint collect_clips:
    """The clips without a usable source, where none are edited here and so no masks say it. A checkpoint, as of masks."""
    input:
        lambda wildcards: expand(layout.CLIP_JSON, run=wildcards.run, video=EXTERNAL_CLIPS),
    output:
        layout.CLIPS_SKIPPED,
    log:
        "logs/{run}/clips/skipped.log",
    priority: 95
    params:
        code=code("collect_clips.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/collect_clips.py --sidecars @<(printf '%s\\n' {input:q}) --output {output:q} > {log:q} 2>&1"


def skipped_clips(run: str) -> list[str]:
    """Their list. A dry-run does without, and plans for all clips, until it is there."""
    skipped = layout.CLIPS_SKIPPED.format(run=run)
    if not workflow.output_settings.dryrun:
        skipped = checkpoints.collect_clips.get(run=run).output[0]
    return [skipped] if Path(skipped).exists() else []


def prepared_videos(run: str) -> list[str]:
    """The clips of videos edited elsewhere that could be made."""
    skipped = {line.partition(": ")[0] for path in skipped_clips(run) for line in open(path, encoding="utf-8")}
    return [video for video in EXTERNAL_CLIPS if video not in skipped]


rule clips:
    """Every clip of the sheet, prepared."""
    input:
        expand(layout.CLIP, run=RUN, video=CLIPS),
