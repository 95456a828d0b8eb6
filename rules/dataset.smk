"""Datasets: captioned road frames with masks, and filtered subsets of them.

INPUTS:  the sources of the clip sheet, at full length and rate
OUTPUTS: results/datasets/{dataset}/items/{video}_frame{n}/    record.json; image.png, mask.png where kept
         results/datasets/{dataset}/work/{video}.captions.json
         results/datasets/{dataset}/images/, masks/, captions/, train.csv, stats.json
         results/datasets/{dataset}__{suffix}/...              a filtered dataset, as in __single_white_solid_clearroad
"""

DATASET = "results/datasets/{dataset}"


wildcard_constraints:
    dataset=r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*",
    suffix=r"[a-z0-9-]+(_[a-z0-9-]+)*",
    n=r"\d+",


def dataset_videos(dataset: str) -> list[str]:
    """The slice of the sheet that a dataset takes."""
    if dataset not in config["datasets"]:
        raise WorkflowError(f"{dataset}: no such dataset; config.datasets has {', '.join(config['datasets']) or 'none'}")
    part = config["datasets"][dataset]
    return list(CLIPS)[part["start"] :][: part["limit"] or None]


def dataset_items(dataset: str, video: str) -> list[str]:
    """One folder a (video, frame)."""
    return expand(f"{DATASET}/items/{{video}}_frame{{n}}", dataset=dataset, video=video, n=config["dataset"]["frames"])


rule dataset_frame:
    """One frame, exact, and the road in it; a frame past the end or without road leaves only its record."""
    input:
        local_source,
    output:
        directory(f"{DATASET}/items/{{video}}_frame{{n}}"),
    log:
        "logs/datasets/{dataset}/{video}_frame{n}.log",
    priority: 92
    resources:
        gpu=1,
        network=1,
        device=config["devices"]["sam2"],
    params:
        source=lambda wildcards: source_flags(wildcards.video),
        flags=flags("dataset", leave_out=("frames", "caption_batch", "caption_max_tokens", "dtype")),
        checkpoint=model_folder("sam2"),
        weights=weights("sam2"),
        code=code("dataset_frame.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/dataset_frame.py {params.source} --frame {wildcards.n} --checkpoint {params.checkpoint:q}"
        " {params.flags} --device {resources.device} --output {output:q} > {log:q} 2>&1"
