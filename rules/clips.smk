"""Clips: every source at one rate and size, with the true time of each frame.

INPUTS:  the sources that the clip sheet names (files, gs:// objects, PhysicalAI-AV datasets)
OUTPUTS: results/{run}/clips/{video}.mp4    H.264, yuv420p, constant rate
         results/{run}/clips/{video}.json   source, fps, frames, size, sha256, time of each frame
         results/{run}/vp/original/...      the clip through the writer once more: the arm without an edit
"""


def local_source(wildcards) -> list[str]:
    """The source as an input file where it is one; objects and streams are fetched by the job itself."""
    clip = CLIPS.get(wildcards.video)
    if clip is None:
        raise WorkflowError(f"{wildcards.video}: no such video in {config['clips']}")
    return as_inputs([clip.uri]) if clip.uri and "://" not in clip.uri else []


def clip_flags(wildcards) -> str:
    """The clip section; only a clip that can be driven has an instant to end its window at: the last one."""
    anchor = config["clip"]["anchor"] if CLIPS[wildcards.video].drivable else "start"
    section = {**config["clip"], "anchor": anchor, "t0_us": max(T0_US)}
    return relane_config.flags(section, leave_out=("record_failures",))


rule prepare_clip:
    """Decode by true frame times, resample by time to clip.fps, write one H.264 file and its sidecar."""
    input:
        local_source,
    output:
        video="results/{run}/clips/{video}.mp4",
        sidecar="results/{run}/clips/{video}.json",
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
        source=lambda wildcards: source_flags(wildcards.video),
        code=code("prepare_clip.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/prepare_clip.py {params.source} {params.flags}"
        " {RECORD_FAILURES} --last-attempt {resources.last_attempt} --output {output.video:q} --sidecar {output.sidecar:q} > {log:q} 2>&1"


rule reencode_original:
    """The original arm goes through the same codec as the edits, so that the codec is not part of an effect."""
    input:
        "results/{run}/clips/{video}.mp4",
    output:
        "results/{run}/vp/original/{video}/{video}_vp_edit_sample0.mp4",
    log:
        "logs/{run}/original/{video}.log",
    benchmark:
        "benchmarks/results/{run}/original/{video}.tsv"
    priority: 95
    params:
        crf=config["video"]["crf"],
        code=code("reencode_clip.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/reencode_clip.py --clip {input:q} --crf {params.crf} --output {output:q} > {log:q} 2>&1"


checkpoint collect_clips:
    """The clips without a usable source, where none are edited here and so no masks say it. A checkpoint, as of masks."""
    input:
        lambda wildcards: expand("results/{run}/clips/{video}.json", run=wildcards.run, video=FOREIGN_CLIPS),
    output:
        "results/{run}/clips/skipped.txt",
    log:
        "logs/{run}/clips/skipped.log",
    priority: 95
    params:
        code=code("collect_clips.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/collect_clips.py --sidecars @<(printf '%s\\n' {input:q}) --output {output:q} > {log:q} 2>&1"


def skipped_clips(run: str) -> list[str]:
    """Their list. A dry-run does without, and plans for all clips, until it is there."""
    skipped = f"results/{run}/clips/skipped.txt"
    if not workflow.output_settings.dryrun:
        skipped = checkpoints.collect_clips.get(run=run).output[0]
    return [skipped] if Path(skipped).exists() else []


def prepared_videos(run: str) -> list[str]:
    """The clips of videos edited elsewhere that could be made."""
    skipped = {line.partition(": ")[0] for path in skipped_clips(run) for line in open(path, encoding="utf-8")}
    return [video for video in FOREIGN_CLIPS if video not in skipped]


rule clips:
    """Every clip of the sheet, prepared."""
    input:
        expand("results/{run}/clips/{video}.mp4", run=RUN, video=CLIPS),
