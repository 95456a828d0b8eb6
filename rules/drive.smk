"""Drive: the driving model on every arm of a clip, and what the edit did to its path.

INPUTS:  results/{run}/vp/{arm}/{video}/{video}_vp_edit_sample0.mp4, the clip's other cameras and ego motion
OUTPUTS: results/{run}/alpamayo/{arm}/{clip}/{clip}_inference.json, _vis_data.npz, _overlay.mp4
         results/{run}/effects.csv, effects.json, {run}_report.txt, inference_summary.json, effects_plots/
"""

DRIVE = "results/{run}/alpamayo/{arm}/{clip}/{clip}"


def source_arm(arm: str) -> str:
    """The floor arm drives the original video, only with other noise."""
    return "original" if arm == "floor" else arm


def arm_videos(wildcards) -> list[str]:
    """The arm's videos of this clip: all edited cameras of one clip go into one rollout."""
    videos = [video for video in videos_of(wildcards.clip) if CLIPS[video].drivable]
    if not videos:
        raise WorkflowError(f"{wildcards.clip}: no ego motion comes with this clip, so there is nothing to drive")
    pattern = "results/{run}/vp/{arm}/{video}/{video}_vp_edit_sample0.mp4"
    return expand(pattern, run=wildcards.run, arm=source_arm(wildcards.arm), video=videos)


def clip_sidecars(wildcards) -> list[str]:
    """The times of the frames of those videos."""
    videos = [video for video in videos_of(wildcards.clip) if CLIPS[video].drivable]
    return expand("results/{run}/clips/{video}.json", run=wildcards.run, video=videos)


def original_rollout(wildcards) -> list[str]:
    """With shared reasoning every other arm is fed the original arm's words."""
    if config["drive"]["reasoning"] == "free" or wildcards.arm == "original":
        return []
    return [f"results/{wildcards.run}/alpamayo/original/{wildcards.clip}/{wildcards.clip}_inference.json"]


rule drive_arm:
    """K rollouts of the driving model on one arm of one clip, with noise that all arms share."""
    input:
        videos=arm_videos,
        sidecars=clip_sidecars,
        original=original_rollout,
    output:
        result=f"{DRIVE}_inference.json",
        data=f"{DRIVE}_vis_data.npz",
    log:
        "logs/{run}/drive/{arm}/{clip}.log",
    benchmark:
        "benchmarks/results/{run}/drive/{arm}/{clip}.tsv"
    priority: 50
    resources:
        gpu=1,
        device=config["devices"]["driver"],
    params:
        flags=flags("drive", leave_out=("enabled",)),
        pai_root=lambda wildcards: CLIPS[videos_of(wildcards.clip)[0]].pai_root,
        noise_key=lambda wildcards: "floor" if wildcards.arm == "floor" else "crn",
        t0_us=config["clip"]["t0_us"],
        reasoning_from=lambda wildcards, input: relane_config.flags({"reasoning_from": str(input.original) or None}),
        alpamayo=model_folder("alpamayo"),
        weights=weights("alpamayo"),
        code=code("drive.py"),
    shell:
        "{ON_GPU} --record {output.result:q} {SCRIPTS:q}/drive.py --pai-root {params.pai_root:q} --clip-id {wildcards.clip:q}"
        " --videos {input.videos:q} --clip-jsons {input.sidecars:q} --arm {wildcards.arm:q}"
        " --noise-key {params.noise_key:q} --t0-us {params.t0_us} --alpamayo {params.alpamayo:q} {params.flags}"
        " {params.reasoning_from} --device {resources.device}"
        " --output {output.result:q} --vis-data {output.data:q} > {log:q} 2>&1"


rule draw_overlay:
    """Paths over the arm's video by the clip's own f-theta calibration, beside the original arm's path."""
    input:
        video=lambda wildcards: arm_videos(wildcards)[0],
        sidecar=lambda wildcards: clip_sidecars(wildcards)[0],
        result=f"{DRIVE}_inference.json",
        data=f"{DRIVE}_vis_data.npz",
        original="results/{run}/alpamayo/original/{clip}/{clip}_vis_data.npz",
    output:
        f"{DRIVE}_overlay.mp4",
    log:
        "logs/{run}/overlay/{arm}/{clip}.log",
    benchmark:
        "benchmarks/results/{run}/overlay/{arm}/{clip}.tsv"
    priority: 40
    params:
        pai_root=lambda wildcards: CLIPS[videos_of(wildcards.clip)[0]].pai_root,
        code=code("draw_overlay.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/draw_overlay.py --pai-root {params.pai_root:q} --video {input.video:q}"
        " --clip-json {input.sidecar:q} --inference {input.result:q} --vis-data {input.data:q}"
        " --original-vis-data {input.original:q} --output {output:q} > {log:q} 2>&1"


def driven_clips(run: str) -> list[str]:
    """The clips that can be driven: enough road, and ego motion."""
    if not config["drive"]["enabled"]:
        return []
    return list(dict.fromkeys(CLIPS[video].clip_id for video in usable_videos(run) if CLIPS[video].drivable))


def no_driving_reason() -> str:
    """Why nothing is driven, for the report; empty where something is."""
    if not config["drive"]["enabled"]:
        return "driving is left out: drive.enabled is false"
    if not any(CLIPS[video].drivable for video in CLIPS):
        return "driving is left out: no ego motion comes with these clips (only a PhysicalAI-AV dataset has it)"
    return ""


rule effects:
    """Paired differences against the original arm, judged against the sham edit and the noise floor."""
    input:
        inferences=lambda wildcards: expand(
            f"{DRIVE}_inference.json", run=wildcards.run, arm=DRIVE_ARMS, clip=driven_clips(wildcards.run)
        ),
        metadata="results/{run}/sam2/metadata.csv",
    output:
        table="results/{run}/effects.csv",
        values="results/{run}/effects.json",
        report="results/{run}/{run}_report.txt",
        summary="results/{run}/inference_summary.json",
        plots=directory("results/{run}/effects_plots"),
    log:
        "logs/{run}/effects.log",
    priority: 30
    params:
        flags=flags("effects"),
        reason=no_driving_reason(),
        code=code("effects.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/effects.py --inferences {input.inferences:q} --run {wildcards.run:q} {params.flags}"
        " --no-driving-reason={params.reason:q} --csv {output.table:q} --json {output.values:q}"
        " --report {output.report:q} --summary {output.summary:q} --plots {output.plots:q} > {log:q} 2>&1"


rule drive:
    """Every arm of every clip driven, drawn, and compared."""
    input:
        f"results/{RUN}/effects.csv",
        lambda wildcards: expand(f"{DRIVE}_overlay.mp4", run=RUN, arm=DRIVE_ARMS, clip=driven_clips(RUN)),
