"""Road masks: where the road is (SAM2), and which part of it is to be repainted.

INPUTS:  results/{run}/clips/{video}.mp4
OUTPUTS: results/{run}/sam2/{video}/masks/, masks.npz, overlay.mp4, timing.json
         results/{run}/sam2/{video}/region.npz, region.json     the region to repaint, dilated
         results/{run}/sam2/metadata.csv                        a row a clip; clips without enough road are skipped
         results/{run}/preprocessed_data_vp/{video}/            readable by the original VideoPainter scripts
"""

import csv
import functools


rule segment_road:
    """Track the road from nine prompt points through the clip."""
    input:
        clip=layout.CLIP,
        sidecar=layout.CLIP_JSON,
    output:
        masks=directory(layout.MASKS),
        npz=layout.MASKS_NPZ,
        overlay=layout.MASKS_OVERLAY,
        timing=layout.MASKS_JSON,
    log:
        "logs/{run}/sam2/{video}.log",
    benchmark:
        "benchmarks/results/{run}/sam2/{video}.tsv"
    priority: 90
    resources:
        gpu=1,
        mem_mb=grows(32000),
        runtime=120,
        device=config["devices"]["sam2"],
    params:
        folder=subpath(output.npz, parent=True),
        flags=flags("sam2"),
        weights=weights("sam2"),
        code=code("segment_road.py"),
    shell:
        "{ON_GPU} --record {output.timing:q} --weights {params.weights:q}"
        " {SCRIPTS:q}/segment_road.py --clip {input.clip:q} --clip-json {input.sidecar:q}"
        " --checkpoint {config[checkpoints][sam2]:q} {params.flags}"
        " --device {resources.device} --output {params.folder:q} > {log:q} 2>&1"


rule select_region:
    """The part of the road that is repainted: all of it, or a corridor around the lane lines."""
    input:
        clip=layout.CLIP,
        masks=layout.MASKS_NPZ,
        timing=layout.MASKS_JSON,
    output:
        npz=layout.REGION,
        sidecar=layout.REGION_JSON,
    log:
        "logs/{run}/region/{video}.log",
    benchmark:
        "benchmarks/results/{run}/region/{video}.tsv"
    priority: 88
    params:
        flags=flags("region"),
        code=code("select_region.py"),
    shell:
        "{RECORDED} --record {output.sidecar:q}"
        " {SCRIPTS:q}/select_region.py --clip {input.clip:q} --masks {input.masks:q} --timing {input.timing:q}"
        " {params.flags} --output {output.npz:q} --sidecar {output.sidecar:q} > {log:q} 2>&1"


checkpoint collect_masks:
    """One row a clip. A checkpoint, because a clip without a usable source or road is skipped by name, not edited."""
    input:
        expand(layout.MASKS_JSON, video=CLIPS, allow_missing=True),
    output:
        layout.MASK_TABLE,
    log:
        "logs/{run}/sam2/metadata.log",
    priority: 85
    params:
        code=code("collect_masks.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/collect_masks.py --timing @<(printf '%s\\n' {input:q}) --output {output:q} > {log:q} 2>&1"


rule package_videopainter:
    """Clip and masks in the layout that the original VideoPainter scripts read."""
    input:
        clip=layout.CLIP,
        sidecar=layout.CLIP_JSON,
        masks=layout.MASKS_NPZ,
    output:
        directory(layout.VIDEOPAINTER_PACKAGE),
    log:
        "logs/{run}/package/{video}.log",
    params:
        code=code("package_videopainter.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/package_videopainter.py --clip {input.clip:q} --clip-json {input.sidecar:q}"
        " --masks {input.masks:q} --video {wildcards.video:q} --output {output:q} > {log:q} 2>&1"


@functools.cache
def read_rows(metadata: Path, mtime_ns: int) -> dict[str, dict[str, str]]:
    """The rows of a table of masks by video; many jobs ask, one reads."""
    with open(metadata, newline="") as file:
        return {row["video"]: row for row in csv.DictReader(file)}


def videos_where(run: str, holds) -> list[str]:
    """The videos whose row fits. A dry-run plans for all of them until the masks are there to say otherwise."""
    metadata = Path(layout.MASK_TABLE.format(run=run))
    if not workflow.output_settings.dryrun:
        metadata = Path(checkpoints.collect_masks.get(run=run).output[0])
    if not metadata.exists():
        return list(CLIPS)
    rows = read_rows(metadata, metadata.stat().st_mtime_ns)
    return [video for video in CLIPS if video not in rows or holds(rows[video])]


def usable_videos(run: str) -> list[str]:
    """The videos with a usable source and enough road: those that are edited."""
    if EDIT_ARMS:
        check_edits()
    return videos_where(run, lambda row: row["status"] == "ok")


def packages(wildcards) -> list[str]:
    """The VideoPainter package of every clip that could be made from its source."""
    videos = videos_where(RUN, lambda row: row["frames"] != "0")
    return expand(layout.VIDEOPAINTER_PACKAGE, run=RUN, video=videos)


rule masks:
    """The road masks of every clip, their table, and the VideoPainter packages."""
    input:
        layout.MASK_TABLE.format(run=RUN),
        packages,
