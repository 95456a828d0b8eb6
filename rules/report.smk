"""Report: one page that opens from disk, and what the run was made of.

INPUTS:  everything above
OUTPUTS: results/{run}/report/index.html with its media, results/{run}/provenance.json
"""

ALL_VIDEOS = list(CLIPS)
ARM_NAMES = list(ARMS)
CONFIG_RECORD = reading.canonical(config)


def run_identity() -> dict:
    """The configuration that decides the run's results: no instant where none decides anything, no LoRA's place."""
    clip, idle = IDENTITY["clip"], []
    if not DRIVABLE:
        idle = ["t0_us", "anchor", "frame_choice"]
    elif not config["drive"]["enabled"] and clip["anchor"] == "start":
        idle = ["t0_us"]
    clip = {key: value for key, value in clip.items() if key not in idle}
    lora = IDENTITY["first_frame"]["lora"] if LORA_PATH in trained_lora(None) else painter_weights(None)
    return {**IDENTITY, "clip": clip, "first_frame": {**IDENTITY["first_frame"], "lora": lora if LORA_PATH else ""}}


rule provenance:
    """What made each file of the run: code, commit, versions and weights; the configuration and the machine."""
    input:
        # The last files that are made: each stands for all that it was made of.
        metadata=layout.MASK_TABLE,
        effects=layout.EFFECTS,
        reports=expand(layout.EDITS_TABLE, instruction=EDIT_ARMS, allow_missing=True),
        overlays=lambda wildcards: rollouts(
            wildcards.run, layout.ROLLOUT_OVERLAY, words=False, clips=shown_clips(wildcards.run)
        ),
    output:
        layout.PROVENANCE,
    log:
        "logs/{run}/provenance.log",
    params:
        config=lambda wildcards: reading.canonical(run_identity()),
        weights=weights(*config["checkpoints"]),
        code=code("provenance.py"),
    shell:
        "printf %s {CONFIG_RECORD:q} | {PYTHON:q} {SCRIPTS:q}/provenance.py --config-json /dev/stdin"
        " --run-folder results/{wildcards.run} --videos @<(printf '%s\\n' {ALL_VIDEOS:q}) --arms {ARM_NAMES:q}"
        " --output {output:q} > {log:q} 2>&1"


def shown_videos(run: str) -> list[str]:
    """The videos that stand on the page: those of report.clips clips, spread evenly over the usable ones."""
    videos = usable_videos(run)
    clips = list(dict.fromkeys(CLIPS[video].clip_id for video in videos))
    most = config["report"]["clips"] or len(clips)
    chosen = {clips[number * len(clips) // most] for number in range(most)} if most < len(clips) else set(clips)
    return [video for video in videos if CLIPS[video].clip_id in chosen]


def shown_clips(run: str) -> list[str]:
    """The driven clips among them."""
    shown = {CLIPS[video].clip_id for video in shown_videos(run)}
    return [clip for clip in driven_clips(run) if clip in shown]


rule page:
    """Source, edit and overlay side by side, refinement history, metrics, effects."""
    input:
        provenance=layout.PROVENANCE,
        metadata=layout.MASK_TABLE,
        effects=layout.EFFECTS,
        edits=lambda wildcards: expand(
            layout.EDITED, run=wildcards.run, instruction=EDIT_ARMS, video=shown_videos(wildcards.run)
        ),
        quality=lambda wildcards: expand(
            layout.EVALUATION,
            run=wildcards.run,
            instruction=EDIT_ARMS,
            video=shown_videos(wildcards.run),
        ),
        overlays=lambda wildcards: rollouts(
            wildcards.run, layout.ROLLOUT_OVERLAY, words=False, clips=shown_clips(wildcards.run)
        ),
    output:
        index=layout.PAGE,
        media=directory(layout.PAGE_MEDIA),
    log:
        "logs/{run}/report.log",
    params:
        folder=subpath(output.index, parent=True),
        videos=lambda wildcards: shown_videos(wildcards.run),
        total=lambda wildcards: len(usable_videos(wildcards.run)),
        arms=list(ARMS),
        external=EXTERNAL_ARMS,
        driver=next(iter(SIGHTS)),
        clips=lambda wildcards: shown_clips(wildcards.run),
        reason=no_driving_reason(),
        instructions=INSTRUCTIONS,
        code=code("report.py"),
        template=weights_digest(SCRIPTS / "relane" / "report" / "page"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/report.py --run-folder results/{wildcards.run} --run {wildcards.run:q}"
        " --videos {params.videos:q} --total {params.total} --arms {params.arms:q} --external-arms {params.external:q} --clips {params.clips:q}"
        " --driver {params.driver} --t0-us {T0_US[0]} --no-driving-reason={params.reason:q} --output {params.folder:q} > {log:q} 2>&1"


rule report:
    """The report, the quality tables, the masks' packages and the provenance: all of a run."""
    input:
        layout.PAGE.format(run=RUN),
        layout.MASK_TABLE.format(run=RUN),
        packages,
        expand(layout.EDITS_TABLE, run=RUN, instruction=EDIT_ARMS),
