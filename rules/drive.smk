"""Drive: the driving model on every arm of a clip, and what the edit did to its path.

INPUTS:  results/{run}/vp/{arm}/{video}/{video}_vp_edit_sample0.mp4, the clip's other cameras and ego motion;
         videos edited elsewhere (drive.videos)
OUTPUTS: results/{run}/alpamayo/{arm}/{clip}/{clip}_inference.json, _vis_data.npz, _overlay.mp4
         ... {clip}_t0_<us>_inference.json and so on for every further instant in clip.t0_us
         ... {clip}_shared_inference.json and so on with the original arm's words, where drive.reasoning is both
         results/{run}/effects.csv, effects.json, {run}_report.txt, inference_summary.json, effects_plots/
"""

# A rollout's files; {variant} is empty for the first instant with each arm's own words.
DRIVE = "results/{run}/alpamayo/{arm}/{clip}/{clip}{variant}"


wildcard_constraints:
    variant=r"(?:_t0_[0-9]+)?(?:_shared)?",


# Said once, where the run is planned, and not by every job that reads this file again.
if config["drive"]["enabled"] and workflow.is_main_process:
    for left_out in not_driven(CLIPS.values(), READ):
        print(f"not driven: {left_out}", file=sys.stderr)
# The arms that one job drives in one batch; those edited elsewhere are not those of every clip.
TOGETHER = [arm for arm in DRIVE_ARMS if arm not in FOREIGN_ARMS] if config["drive"]["together"] else []


rule import_video:
    """A video edited elsewhere takes its place beside the arms that are edited here."""
    input:
        files=ancient(lambda wildcards: as_inputs(list(filter(None, map(origin.local_path, foreign_files(wildcards)))))),
        clip="results/{run}/clips/{video}.json",
    output:
        video="results/{run}/vp/{foreign_arm}/{video}/{video}_vp_edit_sample0.mp4",
        sidecar="results/{run}/vp/{foreign_arm}/{video}/{video}_times.json",
    log:
        "logs/{run}/import/{foreign_arm}/{video}.log",
    retries: 1
    resources:
        network=1,
    params:
        source=lambda wildcards: foreign_flags(wildcards),
        content=lambda wildcards: foreign_content(wildcards),
        start_us=config["drive"]["videos_start_us"],
        crf=config["video"]["crf"],
        code=code("import_video.py"),
    shell:
        "{RECORDED} --record {output.sidecar:q}"
        " {SCRIPTS:q}/import_video.py {params.source} --start-us {params.start_us}"
        " --clip-json {input.clip:q} --crf {params.crf} --output {output.video:q} --sidecar {output.sidecar:q} > {log:q} 2>&1"


def foreign_files(wildcards) -> list[str]:
    """Where a video edited elsewhere is, with the JSON beside it where there is one."""
    if (wildcards.foreign_arm, wildcards.video) not in FOREIGN:
        raise WorkflowError(f"{wildcards.foreign_arm}: {config['drive']['videos']} has no video {wildcards.video}")
    file = FOREIGN[wildcards.foreign_arm, wildcards.video]
    return [file.uri, file.sidecar] if file.sidecar else [file.uri]


def foreign_flags(wildcards) -> str:
    """The same as a script's flags."""
    foreign_files(wildcards)
    file = FOREIGN[wildcards.foreign_arm, wildcards.video]
    source = {"uri": file.uri, "checksum": file.checksum, "video_json": file.sidecar}
    return arguments.flags({**source, "clip_id": file.clip_id, "camera": file.camera})


@functools.cache
def foreign_contents() -> dict[str, str]:
    """What the local files of all videos edited elsewhere hold, the JSONs beside them too."""
    files = [path for file in FOREIGN.values() for path in (file.uri, file.sidecar)]
    return origin.content_of({path for path in map(origin.local_path, files) if path})


def foreign_content(wildcards) -> list[str]:
    """What those of one video hold; a remote one's checksum is among its flags."""
    return [foreign_contents()[path] for path in map(origin.local_path, foreign_files(wildcards)) if path]


def replaced_videos(run: str, arm: str, clip: str) -> list[str]:
    """The cameras of a clip that an arm replaces, all in one rollout; the front comes first, overlays are drawn on it.

    Of a clip's several cameras some may show too little road to be edited: those stay as they are, in every arm.
    """
    if arm in FOREIGN_ARMS:
        videos = [video for video in videos_of(clip) if (arm, video) in FOREIGN]
    else:
        videos = [video for video in videos_of(clip) if video in DRIVABLE]
        if len(videos) > 1:
            usable = set(usable_videos(run) if EDIT_ARMS else prepared_videos(run))
            videos = [video for video in videos if video in usable]
    if not videos:
        raise WorkflowError(f"{clip}: nothing to drive in arm {arm}: no video of it, or no ego motion with the clip")
    return sorted(videos, key=lambda video: CLIPS[video].camera != "camera_front_wide_120fov")


def arm_videos(run: str, arm: str, clip: str) -> list[str]:
    """An arm's videos of a clip; the floor arm drives the original ones, only with other noise."""
    arm = "original" if arm == "floor" else arm
    pattern = "results/{run}/vp/{arm}/{video}/{video}_vp_edit_sample0.mp4"
    return expand(pattern, run=run, arm=arm, video=replaced_videos(run, arm, clip))


def arm_sidecars(run: str, arm: str, clip: str) -> list[str]:
    """The times of the frames of those videos."""
    foreign = "results/{run}/vp/{arm}/{video}/{video}_times.json"
    pattern = foreign if arm in FOREIGN_ARMS else "results/{run}/clips/{video}.json"
    return expand(pattern, run=run, arm=arm, video=replaced_videos(run, arm, clip))


def noise_key_of(arm: str) -> str:
    """Arms with the same key share their noise: all but the floor, which differs in nothing else."""
    return "floor" if arm == "floor" else "crn"


def reasoning_of(wildcards) -> str:
    """Whose words a rollout thinks: its own, or the original arm's."""
    if wildcards.variant.endswith("_shared"):
        return "shared"
    return "shared" if config["drive"]["reasoning"] == "shared" else "free"


def original_rollout(wildcards) -> list[str]:
    """With shared reasoning every other arm is fed the original arm's words."""
    if reasoning_of(wildcards) == "free" or wildcards.arm == "original":
        return []
    variant = wildcards.variant.removesuffix("_shared")
    return expand(f"{DRIVE}_inference.json", run=wildcards.run, arm="original", clip=wildcards.clip, variant=variant)


def t0_us_of(wildcards) -> int:
    """The instant that a rollout plans at, from its name."""
    named = wildcards.variant.removesuffix("_shared")
    return int(named.rpartition("_")[2]) if named else T0_US[0]


def pai_root_of(wildcards) -> str:
    """The data set of a clip."""
    root = CLIPS[videos_of(wildcards.clip)[0]].pai_root
    return origin.local_path(root) or root


rule drive_arm:
    """K rollouts of the driving model on one arm of one clip, with noise that all arms share."""
    input:
        videos=lambda wildcards: arm_videos(wildcards.run, wildcards.arm, wildcards.clip),
        sidecars=lambda wildcards: arm_sidecars(wildcards.run, wildcards.arm, wildcards.clip),
        original=original_rollout,
    output:
        results=f"{DRIVE}_inference.json",
        data=f"{DRIVE}_vis_data.npz",
    log:
        "logs/{run}/drive/{arm}/{clip}{variant}.log",
    benchmark:
        "benchmarks/results/{run}/drive/{arm}/{clip}{variant}.tsv"
    priority: 50
    resources:
        gpu=1,
        device=config["devices"]["driver"],
    params:
        flags=flags("drive", leave_out=tuple(DrivePlan.model_fields)),
        pai_root=pai_root_of,
        data=driven_content,
        arms=lambda wildcards: wildcards.arm,
        noise_keys=lambda wildcards: noise_key_of(wildcards.arm),
        t0_us=t0_us_of,
        frame_choice=IDENTITY["clip"]["frame_choice"],
        reasoning=reasoning_of,
        reasoning_from=lambda wildcards, input: arguments.flags({"reasoning_from": str(input.original) or None}),
        weights=weights("alpamayo"),
        records=lambda wildcards, output: record_flags(output.results),
        code=code("drive.py"),
    shell:
        "{ON_GPU} {params.records} --weights {params.weights:q}"
        " {SCRIPTS:q}/drive.py --pai-root {params.pai_root:q}"
        " --clip-id {wildcards.clip:q} --videos {input.videos:q} --clip-jsons {input.sidecars:q} --arm {params.arms:q}"
        " --noise-key {params.noise_keys:q} --t0-us {params.t0_us} --alpamayo {config[checkpoints][alpamayo]:q} {params.flags}"
        " --frame-choice {params.frame_choice} --reasoning {params.reasoning} {params.reasoning_from} --device {resources.device}"
        " --output {output.results:q} --vis-data {output.data:q} > {log:q} 2>&1"


if TOGETHER:

    # All arms of a clip in one batch, which takes hardly longer than one arm; a changed arm drives all again.
    use rule drive_arm as drive_arms with:
        input:
            videos=lambda wildcards: [
                video for arm in TOGETHER for video in arm_videos(wildcards.run, arm, wildcards.clip)
            ],
            sidecars=lambda wildcards: arm_sidecars(wildcards.run, "original", wildcards.clip),
            original=[],
        output:
            results=expand(f"{DRIVE}_inference.json", arm=TOGETHER, allow_missing=True),
            data=expand(f"{DRIVE}_vis_data.npz", arm=TOGETHER, allow_missing=True),
        log:
            "logs/{run}/drive/{clip}{variant}.log",
        benchmark:
            "benchmarks/results/{run}/drive/{clip}{variant}.tsv"
        wildcard_constraints:
            variant=r"(?:_t0_[0-9]+)?",
        params:
            arms=TOGETHER,
            noise_keys=[noise_key_of(arm) for arm in TOGETHER],

    ruleorder: drive_arms > drive_arm


rule draw_overlay:
    """Paths over the arm's video by the clip's own f-theta calibration, beside the original arm's path."""
    input:
        video=lambda wildcards: arm_videos(wildcards.run, wildcards.arm, wildcards.clip)[0],
        sidecar=lambda wildcards: arm_sidecars(wildcards.run, wildcards.arm, wildcards.clip)[0],
        result=f"{DRIVE}_inference.json",
        data=f"{DRIVE}_vis_data.npz",
        original=lambda wildcards: expand(
            f"{DRIVE}_vis_data.npz",
            run=wildcards.run,
            arm="original",
            clip=wildcards.clip,
            variant=wildcards.variant.removesuffix("_shared"),
        ),
    output:
        video=f"{DRIVE}_overlay.mp4",
        sidecar=f"{DRIVE}_overlay.json",
    log:
        "logs/{run}/overlay/{arm}/{clip}{variant}.log",
    benchmark:
        "benchmarks/results/{run}/overlay/{arm}/{clip}{variant}.tsv"
    priority: 40
    params:
        pai_root=pai_root_of,
        data=driven_content,
        code=code("draw_overlay.py"),
    shell:
        "{RECORDED} --record {output.sidecar:q}"
        " {SCRIPTS:q}/draw_overlay.py --pai-root {params.pai_root:q} --video {input.video:q}"
        " --clip-json {input.sidecar:q} --inference {input.result:q} --vis-data {input.data:q}"
        " --original-vis-data {input.original:q} --output {output.video:q} > {log:q} 2>&1"


def driven_clips(run: str) -> list[str]:
    """The clips that can be driven: ego motion, and, where something is edited here, enough road."""
    if not config["drive"]["enabled"]:
        return []
    videos = usable_videos(run) if EDIT_ARMS else prepared_videos(run)
    return list(dict.fromkeys(CLIPS[video].clip_id for video in videos if video in DRIVABLE))


def rollouts(run: str, ending: str, words: bool = True, clips: list[str] | None = None) -> list[str]:
    """One file of every rollout of a run; an arm edited elsewhere has the clips that it has.

    `words`: whether the second rollouts, with the original arm's words, are among them. `clips`: only of these.
    """
    files = []
    for clip in driven_clips(run) if clips is None else clips:
        foreign = [arm for arm, video in FOREIGN if CLIPS[video].clip_id == clip]
        for arm in [arm for arm in DRIVE_ARMS if arm not in FOREIGN_ARMS or arm in foreign]:
            variants = ["", *(f"_t0_{t0}" for t0 in T0_US[1:])]
            if words and config["drive"]["reasoning"] == "both" and arm != "original":
                variants += [f"{variant}_shared" for variant in variants]
            files += expand(f"{DRIVE}_{ending}", run=run, arm=arm, clip=clip, variant=variants)
    return files


def no_driving_reason() -> str:
    """Why nothing is driven, for the report; empty where something is."""
    if not config["drive"]["enabled"]:
        return "driving is left out: drive.enabled is false"
    if not DRIVABLE:
        return "driving is left out: " + "; ".join(not_driven(CLIPS.values(), READ))
    return ""


rule effects:
    """Paired differences against the original arm, judged against the sham edit and the noise floor."""
    input:
        inferences=lambda wildcards: rollouts(wildcards.run, "inference.json"),
        metadata="results/{run}/sam2/metadata.csv" if EDIT_ARMS else [],
        skipped=lambda wildcards: [] if EDIT_ARMS else skipped_clips(wildcards.run),
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
        failures=lambda wildcards, input: arguments.flags({"failures": str(input.skipped) or None}),
        reason=no_driving_reason(),
        code=code("effects.py"),
    shell:
        "{RECORDED} --record {output.values:q}"
        " {SCRIPTS:q}/effects.py --inferences @<(printf '%s\\n' {input.inferences:q})"
        " --run {wildcards.run:q} {params.flags} {params.failures}"
        " --no-driving-reason={params.reason:q} --csv {output.table:q} --json {output.values:q}"
        " --report {output.report:q} --summary {output.summary:q} --plots {output.plots:q} > {log:q} 2>&1"


rule drive:
    """Every arm of every clip driven, drawn, and compared."""
    input:
        f"results/{RUN}/effects.csv",
        lambda wildcards: rollouts(RUN, "overlay.mp4", words=False),
