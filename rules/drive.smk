"""Drive: the driving model on every arm of a clip, and what the edit did to its path.

INPUTS:  results/{run}/vp/{arm}/{video}/{video}_vp_edit_sample0.mp4, the clip's other cameras and ego motion;
         videos edited elsewhere (drive.videos)
OUTPUTS: results/{run}/drive/{driver}/{arm}/{clip}/{clip}_t0_<us>_inference.json, _vis_data.npz, _overlay.mp4
         ... {clip}_t0_<us>_shared_inference.json and so on with the original arm's words, where drive.reasoning is both
         results/{run}/effects.csv, effects.json, {run}_report.txt, inference_summary.json, effects_plots/
"""


wildcard_constraints:
    rollout=r"t0_[0-9]+(?:_shared)?",


def check_driven() -> None:
    """Name the clips that planning sees cannot be driven; stop where the configuration says so, or all are such."""
    for sight in SIGHTS.values():
        shown = [CLIPS[video] for video in DRIVABLE if CLIPS[video].camera in sight.cameras]
        clips = dict.fromkeys((clip.pai_root, clip.clip_id) for clip in shown)
        try:
            wrong = faults(clips, sight.cameras)
        except InputError as error:
            raise WorkflowError(str(error)) from None
        if wrong and (len(wrong) == len(clips) or not config["drive"]["record_failures"]):
            raise WorkflowError(str(wrong[0]))
        for error in wrong:
            print(f"cannot be driven: {error}", file=sys.stderr)


# Said once, where the run is planned, and not by every job that reads this file again.
if config["drive"]["enabled"] and workflow.is_main_process:
    for left_out in not_driven(CLIPS.values(), READ):
        print(f"not driven: {left_out}", file=sys.stderr)
    check_driven()
# The arms that one job drives in one batch; those edited elsewhere are not those of every clip.
TOGETHER = list(MADE_HERE) if config["drive"]["together"] else []


rule import_video:
    """A video edited elsewhere takes its place beside the arms that are edited here."""
    input:
        files=ancient(
            lambda wildcards: as_inputs(list(filter(None, map(origin.local_path, external_files(wildcards)))))
        ),
        clip=layout.CLIP_JSON,
    output:
        video=layout.EXTERNAL,
        sidecar=layout.EXTERNAL_JSON,
    log:
        "logs/{run}/import/{external}/{video}.log",
    retries: 1
    resources:
        network=1,
    params:
        source=lambda wildcards: external_flags(wildcards),
        content=lambda wildcards: external_content(wildcards),
        start_us=config["drive"]["videos_start_us"],
        crf=config["video"]["crf"],
        code=code("import_video.py"),
    shell:
        "{RECORDED} --record {output.sidecar:q}"
        " {SCRIPTS:q}/import_video.py {params.source} --start-us {params.start_us}"
        " --clip-json {input.clip:q} --crf {params.crf} --output {output.video:q} --sidecar {output.sidecar:q} > {log:q} 2>&1"


def external_files(wildcards) -> list[str]:
    """Where a video edited elsewhere is, with the JSON beside it where there is one."""
    if (wildcards.external, wildcards.video) not in EXTERNAL:
        raise WorkflowError(f"{wildcards.external}: {config['drive']['videos']} has no video {wildcards.video}")
    file = EXTERNAL[wildcards.external, wildcards.video]
    return [file.uri, file.sidecar] if file.sidecar else [file.uri]


def external_flags(wildcards) -> str:
    """The same as a script's flags."""
    external_files(wildcards)
    file = EXTERNAL[wildcards.external, wildcards.video]
    source = {"uri": file.uri, "checksum": file.checksum, "video_json": file.sidecar}
    return arguments.flags({**source, "clip_id": file.clip_id, "camera": file.camera})


@functools.cache
def external_contents() -> dict[str, str]:
    """What the local files of all videos edited elsewhere hold, the JSONs beside them too."""
    files = [path for file in EXTERNAL.values() for path in (file.uri, file.sidecar)]
    return origin.content_of({path for path in map(origin.local_path, files) if path})


def external_content(wildcards) -> list[str]:
    """What those of one video hold; a remote one's checksum is among its flags."""
    return [external_contents()[path] for path in map(origin.local_path, external_files(wildcards)) if path]


def arm_named(name: str) -> relane_arms.Arm:
    """An arm of the run; a file's name may ask for one that the configuration leaves out."""
    return ARMS.get(name) or relane_arms.Arm(name, relane_arms.kind_of(name))


def replaced_videos(wildcards, arm: str) -> list[str]:
    """The cameras of a clip that an arm replaces, all in one rollout; the front comes first, overlays are drawn on it.

    Of a clip's several cameras some may show too little road to be edited: those stay as they are, in every arm.
    """
    clip, read = wildcards.clip, SIGHTS[wildcards.driver].cameras
    if arm in EXTERNAL_ARMS:
        videos = [video for video in videos_of(clip) if (arm, video) in EXTERNAL]
    else:
        videos = [video for video in videos_of(clip) if video in DRIVABLE and CLIPS[video].camera in read]
        if len(videos) > 1:
            usable = set(usable_videos(wildcards.run) if EDIT_ARMS else prepared_videos(wildcards.run))
            videos = [video for video in videos if video in usable]
    if not videos:
        raise WorkflowError(f"{clip}: nothing to drive in arm {arm}: no video of it, or no ego motion with the clip")
    return sorted(videos, key=lambda video: CLIPS[video].camera != "camera_front_wide_120fov")


def arm_videos(wildcards, arm: str) -> list[str]:
    """An arm's videos of a rollout's clip."""
    videos = replaced_videos(wildcards, arm)
    return expand(layout.EDITED, run=wildcards.run, instruction=arm_named(arm).video_arm, video=videos)


def arm_sidecars(wildcards, arm: str) -> list[str]:
    """The times of the frames of those videos."""
    pattern = layout.EXTERNAL_JSON if arm in EXTERNAL_ARMS else layout.CLIP_JSON
    return expand(pattern, run=wildcards.run, external=arm, video=replaced_videos(wildcards, arm))


def reasoning_of(wildcards) -> str:
    """Whose words a rollout thinks: its own, or the original arm's."""
    if wildcards.rollout.endswith(layout.SHARED_WORDS):
        return "shared"
    return "shared" if config["drive"]["reasoning"] == "shared" else "free"


def original_rollout(wildcards) -> list[str]:
    """With shared reasoning every other arm is fed the original arm's words."""
    if reasoning_of(wildcards) == "free" or wildcards.arm == relane_arms.ORIGINAL:
        return []
    return [original_of(layout.ROLLOUT, wildcards)]


def original_of(pattern: str, wildcards) -> str:
    """The file of the original arm, with its own words, at the same instant."""
    rollout = layout.rollout_name(layout.instant_of(wildcards.rollout))
    return pattern.format(**dict(wildcards.items()) | {"arm": relane_arms.ORIGINAL, "rollout": rollout})


def pai_root_of(wildcards) -> str:
    """The data set of a clip."""
    root = CLIPS[videos_of(wildcards.clip)[0]].pai_root
    return origin.local_path(root) or root


def data_module(wildcards) -> str:
    """The module that reads the data set of a clip."""
    return module_name(CLIPS[videos_of(wildcards.clip)[0]].pai_root)


rule drive_arm:
    """K rollouts of the driving model on one arm of one clip, with noise that all arms share."""
    input:
        videos=lambda wildcards: arm_videos(wildcards, wildcards.arm),
        sidecars=lambda wildcards: arm_sidecars(wildcards, wildcards.arm),
        original=original_rollout,
    output:
        results=layout.ROLLOUT,
        data=layout.ROLLOUT_DATA,
    log:
        "logs/{run}/drive/{driver}/{arm}/{clip}_{rollout}.log",
    benchmark:
        "benchmarks/results/{run}/drive/{driver}/{arm}/{clip}_{rollout}.tsv"
    priority: 50
    resources:
        gpu=1,
        mem_mb=grows(64000),
        runtime=30,
        device=config["devices"]["driver"],
        checkpoint=lambda wildcards: config["checkpoints"].get(driver_module(wildcards.driver).CHECKPOINT, ""),
        module=lambda wildcards: DRIVERS[wildcards.driver],
        data_module=data_module,
    params:
        flags=flags("drive", leave_out=tuple(DrivePlan.model_fields)),
        pai_root=pai_root_of,
        data=driven_content,
        arms=lambda wildcards: wildcards.arm,
        noise_keys=lambda wildcards: arm_named(wildcards.arm).noise_key,
        editors=lambda wildcards: arm_named(wildcards.arm).editor,
        t0_us=lambda wildcards: layout.instant_of(wildcards.rollout),
        frame_choice=IDENTITY["clip"]["frame_choice"],
        reasoning=reasoning_of,
        reasoning_from=lambda wildcards, input: arguments.flags({"reasoning_from": str(input.original) or None}),
        weights=lambda wildcards: weights(*driver_checkpoints(wildcards.driver))(wildcards),
        records=lambda wildcards, output: record_flags(output.results),
        code=lambda wildcards: code("drive.py", DRIVERS[wildcards.driver], data_module(wildcards)),
    shell:
        "{ON_GPU} {params.records} --weights {params.weights:q} --module {resources.module}"
        " --module {resources.data_module}"
        " {SCRIPTS:q}/drive.py --pai-root {params.pai_root:q}"
        " --clip-id {wildcards.clip:q} --videos {input.videos:q} --clip-jsons {input.sidecars:q} --arm {params.arms:q}"
        " --noise-key {params.noise_keys:q} --editor {params.editors:q} --t0-us {params.t0_us} {params.flags}"
        " --driver {wildcards.driver} --checkpoint={resources.checkpoint:q}"
        " --frame-choice {params.frame_choice} --reasoning {params.reasoning} {params.reasoning_from} --device {resources.device}"
        " --output {output.results:q} --vis-data {output.data:q} > {log:q} 2>&1"


if TOGETHER:

    # All arms of a clip in one batch, which takes hardly longer than one arm; a changed arm drives all again.
    use rule drive_arm as drive_arms with:
        input:
            videos=lambda wildcards: [video for arm in TOGETHER for video in arm_videos(wildcards, arm)],
            sidecars=lambda wildcards: arm_sidecars(wildcards, relane_arms.ORIGINAL),
            original=[],
        output:
            results=expand(layout.ROLLOUT, arm=TOGETHER, allow_missing=True),
            data=expand(layout.ROLLOUT_DATA, arm=TOGETHER, allow_missing=True),
        log:
            "logs/{run}/drive/{driver}/{clip}_{rollout}.log",
        benchmark:
            "benchmarks/results/{run}/drive/{driver}/{clip}_{rollout}.tsv"
        wildcard_constraints:
            rollout=r"t0_[0-9]+",
        params:
            arms=TOGETHER,
            noise_keys=[ARMS[arm].noise_key for arm in TOGETHER],
            editors=[ARMS[arm].editor for arm in TOGETHER],

    ruleorder: drive_arms > drive_arm


rule draw_overlay:
    """Paths over the arm's video by the clip's own f-theta calibration, beside the original arm's path."""
    input:
        video=lambda wildcards: arm_videos(wildcards, wildcards.arm)[0],
        sidecar=lambda wildcards: arm_sidecars(wildcards, wildcards.arm)[0],
        result=layout.ROLLOUT,
        data=layout.ROLLOUT_DATA,
        original=lambda wildcards: original_of(layout.ROLLOUT_DATA, wildcards),
    output:
        video=layout.ROLLOUT_OVERLAY,
        sidecar=layout.ROLLOUT_OVERLAY_JSON,
    log:
        "logs/{run}/overlay/{driver}/{arm}/{clip}_{rollout}.log",
    benchmark:
        "benchmarks/results/{run}/overlay/{driver}/{arm}/{clip}_{rollout}.tsv"
    priority: 40
    resources:
        data_module=data_module,
    params:
        pai_root=pai_root_of,
        data=driven_content,
        code=lambda wildcards: code("draw_overlay.py", data_module(wildcards)),
    shell:
        "{RECORDED} --record {output.sidecar:q} --module {resources.data_module}"
        " {SCRIPTS:q}/draw_overlay.py --pai-root {params.pai_root:q} --video {input.video:q}"
        " --clip-json {input.sidecar:q} --inference {input.result:q} --vis-data {input.data:q}"
        " --original-vis-data {input.original:q} --output {output.video:q} > {log:q} 2>&1"


def driver_checkpoints(driver: str) -> list[str]:
    """The keys of the checkpoints that a driver loads."""
    return list(filter(None, [driver_module(driver).CHECKPOINT]))


def driven_clips(run: str, driver: str | None = None) -> list[str]:
    """The clips that can be driven: ego motion, and, where something is edited here, enough road.

    With `driver`, those of which it reads a camera that the sheet names.
    """
    if not config["drive"]["enabled"]:
        return []
    videos = usable_videos(run) if EDIT_ARMS else prepared_videos(run)
    read = SIGHTS[driver].cameras if driver else READ
    return list(
        dict.fromkeys(CLIPS[video].clip_id for video in videos if video in DRIVABLE and CLIPS[video].camera in read)
    )


def rollouts(run: str, pattern: str, words: bool = True, clips: list[str] | None = None) -> list[str]:
    """One file of every rollout of a run; an arm edited elsewhere has the clips that it has.

    `words`: whether the second rollouts, with the original arm's words, are among them. `clips`: only of these.
    """
    files = []
    for driver, clip in [(driver, clip) for driver in SIGHTS for clip in driven_clips(run, driver)]:
        if clips is not None and clip not in clips:
            continue
        external = [arm for arm, video in EXTERNAL if CLIPS[video].clip_id == clip]
        for arm in [arm for arm in ARMS if arm in MADE_HERE or arm in external]:
            both = words and config["drive"]["reasoning"] == "both" and arm != relane_arms.ORIGINAL
            names = [layout.rollout_name(t0, shared) for shared in ([False, True] if both else [False]) for t0 in T0_US]
            files += expand(pattern, run=run, driver=driver, arm=arm, clip=clip, rollout=names)
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
        inferences=lambda wildcards: rollouts(wildcards.run, layout.ROLLOUT),
        metadata=layout.MASK_TABLE if EDIT_ARMS else [],
        skipped=lambda wildcards: [] if EDIT_ARMS else skipped_clips(wildcards.run),
    output:
        table=layout.EFFECTS_TABLE,
        values=layout.EFFECTS,
        report=layout.DRIVE_REPORT,
        summary=layout.DRIVE_SUMMARY,
        plots=directory(layout.EFFECTS_PLOTS),
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
        layout.EFFECTS_TABLE.format(run=RUN),
        lambda wildcards: rollouts(RUN, layout.ROLLOUT_OVERLAY, words=False),
