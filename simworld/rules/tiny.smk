"""Tiny: the demo's checkpoints, trained on the synthetic world. The demo never trains: it loads what resources/tiny holds.

INPUTS:  none; the world is rendered by the training scripts
OUTPUTS: results/tiny/{model}/, in the format of resources/tiny/{model}/; results/tiny/training/ to resume from
"""

TINY = layout.TINY
PROGRAMS = Path(workflow.basedir) / "simworld" / "programs"
TRAINER = {
    "sam2": "train_tiny_sam2.py",
    "qwen": "train_tiny_qwen.py",
    "clip": "train_tiny_clip.py",
    "alpamayo": "train_tiny_driver.py",
}


rule train_tiny_flux_fill:
    """FLUX Fill: autoencoder, then transformer."""
    output:
        directory(f"{TINY}/flux_fill"),
    log:
        "logs/tiny/flux_fill.log",
    resources:
        gpu=1,
    params:
        code=code(PROGRAMS / "train_tiny_flux_fill.py"),
    shell:
        "{ON_GPU} {PROGRAMS:q}/train_tiny_flux_fill.py --output {output:q} --work {TINY}/training/flux_fill > {log:q} 2>&1"


rule train_tiny_video:
    """CogVideoX and VideoPainter's branch: autoencoder, then both networks together."""
    output:
        cogvideox=directory(f"{TINY}/cogvideox"),
        videopainter=directory(f"{TINY}/videopainter"),
    log:
        "logs/tiny/video.log",
    resources:
        gpu=1,
    params:
        code=code(PROGRAMS / "train_tiny_video.py"),
    shell:
        "{ON_GPU} {PROGRAMS:q}/train_tiny_video.py --output {output.cogvideox:q} --branch-output {output.videopainter:q}"
        " --work {TINY}/training/video > {log:q} 2>&1"


rule train_tiny:
    """SAM2, Qwen2.5-VL, CLIP or the driver."""
    output:
        directory(f"{TINY}/{{model}}"),
    log:
        "logs/tiny/{model}.log",
    wildcard_constraints:
        model="sam2|qwen|clip|alpamayo",
    resources:
        gpu=1,
    params:
        script=lambda wildcards: TRAINER[wildcards.model],
        code=lambda wildcards: code(PROGRAMS / TRAINER[wildcards.model]),
    shell:
        "{ON_GPU} {PROGRAMS:q}/{params.script:q} --output {output:q} --work {TINY}/training/{wildcards.model:q} > {log:q} 2>&1"


rule tiny:
    """Every tiny checkpoint, trained anew beside the ones that ship."""
    input:
        expand(f"{TINY}/{{model}}", model=("flux_fill", "cogvideox", "videopainter", *TRAINER)),
