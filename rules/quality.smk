"""Quality: what the edit did to the picture, over the full frame and inside the mask.

INPUTS:  the clip, the edited video, results/{run}/sam2/{video}/region.npz
OUTPUTS: results/{run}/vp/{instruction}/{video}/eval_{video}.txt, .json
"""

# Said once, where the run is planned, and not by every job that reads this file again.
if EDIT_ARMS and workflow.is_main_process and relane_optional.left_out(config["checkpoints"]):
    print(relane_optional.left_out(config["checkpoints"]), file=sys.stderr)


rule evaluate_edit:
    """PSNR, SSIM, LPIPS, MSE, MAE, temporal consistency, CLIP score, background, seam and flicker."""
    input:
        clip=layout.CLIP,
        edited=layout.EDITED,
        region=layout.REGION,
        first_frame=layout.FIRST_FRAME_JSON,
    output:
        text=layout.EVALUATION_TEXT,
        values=layout.EVALUATION,
    log:
        "logs/{run}/quality/{instruction}/{video}.log",
    benchmark:
        "benchmarks/results/{run}/quality/{instruction}/{video}.tsv"
    priority: 60
    resources:
        gpu=1,
        mem_mb=grows(16000),
        runtime=120,
        device=config["devices"]["quality"],
    params:
        flags=flags("quality"),
        weights=weights("clip_score", "clip_temporal", "lpips"),
        code=code("evaluate_edit.py"),
    shell:
        "{ON_GPU} --record {output.values:q} --weights {params.weights:q}"
        " {SCRIPTS:q}/evaluate_edit.py --video {wildcards.video:q} --clip {input.clip:q} --edited {input.edited:q}"
        " --inpaint-masks {input.region:q} --first-frame-json {input.first_frame:q} {params.flags}"
        " --clip-score-model={config[checkpoints][clip_score]:q}"
        " --clip-temporal-model={config[checkpoints][clip_temporal]:q} --lpips-weights={config[checkpoints][lpips]:q}"
        " --device {resources.device} --text {output.text:q} --json {output.values:q} > {log:q} 2>&1"


rule quality:
    """The metrics of every edit, and each instruction's report."""
    input:
        every_edit(layout.EVALUATION),
        expand(layout.EDITS_TABLE, run=RUN, instruction=EDIT_ARMS),
