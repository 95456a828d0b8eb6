"""Edits: the first frame repainted under a critic, then carried through the video.

INPUTS:  results/{run}/clips/{video}.mp4, results/{run}/sam2/{video}/region.npz, an instruction's text
OUTPUTS: results/{run}/vp/{instruction}/{video}/{video}_first_frame.png, .json, {video}_caption_refine/
         results/{run}/vp/{instruction}/{video}/{video}_vp_edit_sample0.mp4   native size; outside the mask the source's pixels
         ... {video}_generated.mp4, {video}_panels.mp4, {video}_vp_edit_sample0.json
         results/{run}/vp/{instruction}/report.csv, report.txt
"""

PAINTER, PAINTER_MODULE = next(iter(PAINTERS.items()))
PAINTER_FOLDERS = arguments.flags({name: config["checkpoints"][name] for name in painter_module(PAINTER).CHECKPOINTS})
# The module of the run's editor, and the checkpoints that it loads: what they hold is its identity, not where they lie.
EDITOR_MODULE, EDITOR_LOADS = EDITORS[EDITOR], editor_module(EDITOR).CHECKPOINTS
EDITOR_FOLDERS = arguments.flags({name: config["checkpoints"][name] for name in EDITOR_LOADS})


def instruction_text(wildcards) -> str:
    """What the arm is asked for; `sham` asks for what the first frame already shows."""
    check_edits()
    texts = {relane_arms.SHAM: relane_arms.SHAM} | INSTRUCTIONS
    if wildcards.instruction not in texts:
        raise WorkflowError(f"{wildcards.instruction}: no such instruction; there are {', '.join(INSTRUCTIONS)}, sham")
    return texts[wildcards.instruction]


rule first_frame:
    """A painter repaints frame 0; Qwen2.5-VL judges each try and rewrites its caption."""
    input:
        clip=layout.CLIP,
        region=layout.REGION,
        lora=trained_lora,
    output:
        image=layout.FIRST_FRAME,
        sidecar=layout.FIRST_FRAME_JSON,
        refine=directory(layout.REFINEMENT),
    log:
        "logs/{run}/first_frame/{instruction}/{video}.log",
    benchmark:
        "benchmarks/results/{run}/first_frame/{instruction}/{video}.tsv"
    priority: 80
    resources:
        gpu=1,
        mem_mb=grows(96000),
        runtime=60,
        device=config["devices"]["painter"],
        critic_device=config["devices"]["critic"],
    params:
        instruction=instruction_text,
        flags=flags("first_frame", leave_out=("lora",)),
        weights=painter_weights,
        code=code("first_frame.py", PAINTER_MODULE),
    shell:
        "{ON_GPU} --record {output.sidecar:q} --weights {params.weights:q} --module {PAINTER_MODULE}"
        " {SCRIPTS:q}/first_frame.py --clip {input.clip:q} --inpaint-masks {input.region:q}"
        " --video {wildcards.video:q} --instruction={params.instruction:q} --lora={LORA_PATH:q}"
        " --painter {PAINTER} {PAINTER_FOLDERS} --qwen {config[checkpoints][qwen]:q} {params.flags}"
        " --offload {config[first_frame][offload]}"
        " --unload-critic-after-use {config[first_frame][unload_critic_after_use]}"
        " --device {resources.device} --critic-device {resources.critic_device}"
        " --output {output.image:q} --sidecar {output.sidecar:q} --refine-folder {output.refine:q} > {log:q} 2>&1"


rule edit_video:
    """A video editor carries the first frame's edit through the clip."""
    input:
        clip=layout.CLIP,
        sidecar=layout.CLIP_JSON,
        region=layout.REGION,
        region_sidecar=layout.REGION_JSON,
        image=layout.FIRST_FRAME,
        image_sidecar=layout.FIRST_FRAME_JSON,
    output:
        video=layout.EDITED,
        generated=layout.GENERATED,
        panels=layout.PANELS,
        sidecar=layout.EDITED_JSON,
    log:
        "logs/{run}/edit/{instruction}/{video}.log",
    benchmark:
        "benchmarks/results/{run}/edit/{instruction}/{video}.tsv"
    priority: 70
    resources:
        gpu=1,
        mem_mb=grows(64000),
        runtime=60,
        device=config["devices"]["editor"],
    params:
        flags=flags("video"),
        weights=weights(*EDITOR_LOADS),
        code=code("edit_video.py", EDITOR_MODULE),
    shell:
        "{ON_GPU} --record {output.sidecar:q} --weights {params.weights:q} --module {EDITOR_MODULE}"
        " {SCRIPTS:q}/edit_video.py --clip {input.clip:q} --clip-json {input.sidecar:q}"
        " --inpaint-masks {input.region:q} --region-json {input.region_sidecar:q}"
        " --first-frame {input.image:q} --first-frame-json {input.image_sidecar:q}"
        " --editor {EDITOR} {EDITOR_FOLDERS} {params.flags} --device {resources.device}"
        " --offload {config[video][offload]} --share-posteriors {config[video][share_posteriors]}"
        " --output {output.video:q} --generated {output.generated:q} --panels {output.panels:q}"
        " --sidecar {output.sidecar:q} --text-cache {layout.TEXT_CACHE}"
        " --posterior-cache {layout.LATENT_CACHE} > {log:q} 2>&1"


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
        quality=of_usable_videos(layout.EVALUATION),
    output:
        table=layout.EDITS_TABLE,
        text=layout.EDITS_TEXT,
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
        every_edit(layout.EDITED),
