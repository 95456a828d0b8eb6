"""Edits: the first frame repainted under a critic, then carried through the video.

INPUTS:  results/{run}/clips/{video}.mp4, results/{run}/sam2/{video}/region.npz, an instruction's text
OUTPUTS: results/{run}/vp/{instruction}/{video}/{video}_first_frame.png, .json, {video}_caption_refine/
         results/{run}/vp/{instruction}/{video}/{video}_vp_edit_sample0.mp4   native size; outside the mask the source's pixels
         ... {video}_generated.mp4, {video}_panels.mp4, {video}_vp_edit_sample0.json
         results/{run}/vp/{instruction}/report.csv, report.txt
"""

EDIT = "results/{run}/vp/{instruction}/{video}/{video}"


def instruction_text(wildcards) -> str:
    """What the arm is asked for; `sham` asks for what the first frame already shows."""
    check_edits()
    if wildcards.instruction == "sham":
        return "sham"
    if wildcards.instruction not in INSTRUCTIONS:
        raise WorkflowError(f"{wildcards.instruction}: no such instruction; there are {', '.join(INSTRUCTIONS)}, sham")
    return INSTRUCTIONS[wildcards.instruction]


rule first_frame:
    """FLUX Fill repaints frame 0; Qwen2.5-VL judges each try and rewrites its caption."""
    input:
        clip="results/{run}/clips/{video}.mp4",
        region="results/{run}/sam2/{video}/region.npz",
        lora=trained_lora,
    output:
        image=f"{EDIT}_first_frame.png",
        sidecar=f"{EDIT}_first_frame.json",
        refine=directory(f"{EDIT}_caption_refine"),
    log:
        "logs/{run}/first_frame/{instruction}/{video}.log",
    benchmark:
        "benchmarks/results/{run}/first_frame/{instruction}/{video}.tsv"
    priority: 80
    resources:
        gpu=1,
        device=config["devices"]["painter"],
        critic_device=config["devices"]["critic"],
    params:
        instruction=instruction_text,
        flags=flags("first_frame", leave_out=("lora",)),
        weights=painter_weights,
        code=code("first_frame.py"),
    shell:
        "{ON_GPU} --record {output.sidecar:q} --weights {params.weights:q}"
        " {SCRIPTS:q}/first_frame.py --clip {input.clip:q} --inpaint-masks {input.region:q}"
        " --video {wildcards.video:q} --instruction={params.instruction:q} --lora={LORA_PATH:q}"
        " --flux-fill {config[checkpoints][flux_fill]:q} --qwen {config[checkpoints][qwen]:q} {params.flags}"
        " --offload {config[first_frame][offload]}"
        " --unload-critic-after-use {config[first_frame][unload_critic_after_use]}"
        " --device {resources.device} --critic-device {resources.critic_device}"
        " --output {output.image:q} --sidecar {output.sidecar:q} --refine-folder {output.refine:q} > {log:q} 2>&1"


rule edit_video:
    """VideoPainter on CogVideoX carries the first frame's edit through the clip, window by window."""
    input:
        clip="results/{run}/clips/{video}.mp4",
        sidecar="results/{run}/clips/{video}.json",
        region="results/{run}/sam2/{video}/region.npz",
        region_sidecar="results/{run}/sam2/{video}/region.json",
        image=f"{EDIT}_first_frame.png",
        image_sidecar=f"{EDIT}_first_frame.json",
    output:
        video=f"{EDIT}_vp_edit_sample0.mp4",
        generated=f"{EDIT}_generated.mp4",
        panels=f"{EDIT}_panels.mp4",
        sidecar=f"{EDIT}_vp_edit_sample0.json",
    log:
        "logs/{run}/edit/{instruction}/{video}.log",
    benchmark:
        "benchmarks/results/{run}/edit/{instruction}/{video}.tsv"
    priority: 70
    resources:
        gpu=1,
        device=config["devices"]["editor"],
    params:
        flags=flags("video"),
        weights=weights("cogvideox", "videopainter", "videopainter_id"),
        code=code("edit_video.py"),
    shell:
        "{ON_GPU} --record {output.sidecar:q} --weights {params.weights:q}"
        " {SCRIPTS:q}/edit_video.py --clip {input.clip:q} --clip-json {input.sidecar:q}"
        " --inpaint-masks {input.region:q} --region-json {input.region_sidecar:q}"
        " --first-frame {input.image:q} --first-frame-json {input.image_sidecar:q}"
        " --cogvideox {config[checkpoints][cogvideox]:q} --videopainter {config[checkpoints][videopainter]:q}"
        " --videopainter-id={config[checkpoints][videopainter_id]:q} {params.flags} --device {resources.device}"
        " --offload {config[video][offload]} --share-posteriors {config[video][share_posteriors]}"
        " --output {output.video:q} --generated {output.generated:q} --panels {output.panels:q}"
        " --sidecar {output.sidecar:q} --text-cache results/text_cache"
        " --posterior-cache results/posterior_cache > {log:q} 2>&1"


def of_usable_videos(*patterns: str):
    """An input function: the patterns for every video with enough road, in the instruction of the job."""

    def inputs(wildcards) -> list[str]:
        videos = usable_videos(wildcards.run)
        return expand(list(patterns), run=wildcards.run, instruction=wildcards.instruction, video=videos)

    return inputs


rule instruction_report:
    """A row a video: seconds, memory, the critic's iterations and verdict, the quality label."""
    input:
        # Each follows from its edit and first frame, whose sidecars stand beside it: a third of the files to plan with.
        quality=of_usable_videos("results/{run}/vp/{instruction}/{video}/eval_{video}.json"),
    output:
        table="results/{run}/vp/{instruction}/report.csv",
        text="results/{run}/vp/{instruction}/report.txt",
    log:
        "logs/{run}/instruction_report/{instruction}.log",
    params:
        code=code("instruction_report.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/instruction_report.py --beside --quality @<(printf '%s\\n' {input.quality:q})"
        " --instruction {wildcards.instruction:q} --output {output.table:q} --text {output.text:q} > {log:q} 2>&1"


def every_edit(*patterns: str):
    """An input function: the patterns for every usable video and every edit arm of this run."""
    return lambda wildcards: expand(list(patterns), run=RUN, instruction=EDIT_ARMS, video=usable_videos(RUN))


rule edits:
    """Every clip in every edit arm."""
    input:
        every_edit(f"{EDIT}_vp_edit_sample0.mp4"),
