"""Quality: what the edit did to the picture, over the full frame and inside the mask.

INPUTS:  the clip, the edited video, results/{run}/sam2/{video}/region.npz
OUTPUTS: results/{run}/vp/{instruction}/{video}/eval_{video}.txt, .json
"""


rule evaluate_edit:
    """PSNR, SSIM, LPIPS, MSE, MAE, temporal consistency, CLIP score, background, seam and flicker."""
    input:
        clip="results/{run}/clips/{video}.mp4",
        edited=f"{EDIT}_vp_edit_sample0.mp4",
        region="results/{run}/sam2/{video}/region.npz",
        first_frame=f"{EDIT}_first_frame.json",
    output:
        text="results/{run}/vp/{instruction}/{video}/eval_{video}.txt",
        values="results/{run}/vp/{instruction}/{video}/eval_{video}.json",
    log:
        "logs/{run}/quality/{instruction}/{video}.log",
    benchmark:
        "benchmarks/results/{run}/quality/{instruction}/{video}.tsv"
    priority: 60
    resources:
        gpu=1,
        device=config["devices"]["quality"],
    params:
        flags=flags("quality"),
        models=as_is(
            relane_config.flags(
                {
                    "clip_score_model": config["checkpoints"]["clip_score"],
                    "clip_temporal_model": config["checkpoints"]["clip_temporal"],
                    "lpips_weights": config["checkpoints"]["lpips"],
                }
            )
        ),
        weights=weights("clip_score", "clip_temporal", "lpips"),
        code=code("evaluate_edit.py"),
    shell:
        "{ON_GPU} --record {output.values:q} {SCRIPTS:q}/evaluate_edit.py --video {wildcards.video:q} --clip {input.clip:q} --edited {input.edited:q}"
        " --inpaint-masks {input.region:q} --first-frame-json {input.first_frame:q} {params.models} {params.flags}"
        " --device {resources.device} --text {output.text:q} --json {output.values:q} > {log:q} 2>&1"


rule quality:
    """The metrics of every edit, and each instruction's report."""
    input:
        every_edit("results/{run}/vp/{instruction}/{video}/eval_{video}.json"),
        expand("results/{run}/vp/{instruction}/report.csv", run=RUN, instruction=EDIT_ARMS),
