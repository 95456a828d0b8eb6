"""Datasets: captioned road frames with masks, and filtered subsets of them.

INPUTS:  the sources of the clip sheet, at full length and rate
OUTPUTS: results/datasets/{dataset}/frames/{video}/             frames.json, frame<n>.png: decoded once
         results/datasets/{dataset}/items/{video}_frame<n>/    record.json; image.png, mask.png where kept
         results/datasets/{dataset}/captioned/{video}.json      what the captioner said of each
         results/datasets/{dataset}/images/, masks/, captions/, train.csv, stats.json
         results/datasets/{dataset}__{suffix}/...              a filtered dataset, as in __single_white_solid_clearroad
"""

DATASET = layout.DATASET


wildcard_constraints:
    dataset=r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*",
    suffix=r"[a-z0-9-]+(_[a-z0-9-]+)*",


def dataset_videos(dataset: str) -> list[str]:
    """The slice of the sheet that a dataset takes."""
    if dataset not in config["datasets"]:
        raise WorkflowError(
            f"{dataset}: no such dataset; config.datasets has {', '.join(config['datasets']) or 'none'}"
        )
    part = config["datasets"][dataset]
    return list(CLIPS)[part["start"] :][: part["limit"] or None]


def dataset_items(dataset: str, video: str) -> list[str]:
    """One folder a (video, frame)."""
    return expand(f"{DATASET}/items/{{video}}_frame{{n}}", dataset=dataset, video=video, n=config["dataset"]["frames"])


rule take_frames:
    """The frames of one video, exact: fetched and decoded once, by a job that holds no GPU."""
    input:
        ancient(local_source),
    output:
        directory(f"{DATASET}/frames/{{video}}"),
    log:
        "logs/datasets/{dataset}/{video}_frames.log",
    priority: 93
    retries: 1
    resources:
        network=1,
        last_attempt=lambda wildcards, attempt: int(attempt > 1),
    params:
        source=lambda wildcards: source_flags(wildcards.video),
        content=source_content,
        frames=config["dataset"]["frames"],
        code=code("take_frames.py"),
    shell:
        "{RECORDED} --record {output:q}/frames.json {SCRIPTS:q}/take_frames.py {params.source} --frames {params.frames}"
        " {RECORD_FAILURES} --last-attempt {resources.last_attempt} --output {output:q} > {log:q} 2>&1"


rule dataset_frames:
    """The road in each frame of one video; a frame past the end or without road leaves only its record."""
    input:
        f"{DATASET}/frames/{{video}}",
    output:
        [directory(f"{DATASET}/items/{{video}}_frame{n}") for n in config["dataset"]["frames"]],
    log:
        "logs/datasets/{dataset}/{video}_items.log",
    priority: 92
    resources:
        gpu=1,
        mem_mb=grows(32000),
        runtime=120,
        device=config["devices"]["sam2"],
    params:
        numbers=config["dataset"]["frames"],
        folder=subpath(output[0], parent=True),
        # The road is found as in the clips, by the same points.
        flags=flags("sam2", leave_out=("vos_optimized",)),
        records=lambda wildcards, output: record_flags([f"{item}/record.json" for item in output]),
        weights=weights("sam2"),
        code=code("dataset_frames.py"),
    shell:
        "{ON_GPU} {params.records} --weights {params.weights:q}"
        " {SCRIPTS:q}/dataset_frames.py --frames {input:q} --numbers {params.numbers}"
        " --checkpoint {config[checkpoints][sam2]:q} {params.flags} --device {resources.device}"
        " --output {params.folder:q} > {log:q} 2>&1"


rule caption_frames:
    """Qwen2.5-VL names count, color and pattern of the markings, several frames a call."""
    input:
        lambda wildcards: dataset_items(wildcards.dataset, wildcards.video),
    output:
        f"{DATASET}/captioned/{{video}}.json",
    log:
        "logs/datasets/{dataset}/{video}_captions.log",
    benchmark:
        "benchmarks/results/datasets/{dataset}/{video}_captions.tsv"
    priority: 91
    resources:
        gpu=1,
        mem_mb=grows(48000),
        runtime=120,
        device=config["devices"]["critic"],
    params:
        flags=flags("dataset", leave_out=("frames",)),
        weights=weights("qwen"),
        code=code("caption_frames.py"),
    shell:
        "{ON_GPU} --record {output:q} --weights {params.weights:q}"
        " {SCRIPTS:q}/caption_frames.py --items {input:q} --qwen {config[checkpoints][qwen]:q} {params.flags}"
        " --device {resources.device} --output {output:q} > {log:q} 2>&1"


def every_item(wildcards) -> list[str]:
    """All frames of a dataset."""
    return [item for video in dataset_videos(wildcards.dataset) for item in dataset_items(wildcards.dataset, video)]


rule assemble_dataset:
    """train.csv and what its rows name; duplicates and frames without road are left out and counted."""
    input:
        frames=every_item,
        captions=lambda wildcards: expand(
            f"{DATASET}/captioned/{{video}}.json", dataset=wildcards.dataset, video=dataset_videos(wildcards.dataset)
        ),
    output:
        images=directory(f"{DATASET}/images"),
        masks=directory(f"{DATASET}/masks"),
        captions=directory(f"{DATASET}/captions"),
        table=f"{DATASET}/train.csv",
        stats=f"{DATASET}/stats.json",
    log:
        "logs/datasets/{dataset}/assemble.log",
    params:
        folder=subpath(output.table, parent=True),
        code=code("assemble_dataset.py"),
    shell:
        "{RECORDED} --record {output.stats:q}"
        " {SCRIPTS:q}/assemble_dataset.py --items @<(printf '%s\\n' {input.frames:q})"
        " --captions @<(printf '%s\\n' {input.captions:q})"
        " --output {params.folder:q} > {log:q} 2>&1"


rule filter_dataset:
    """The rows that a suffix such as single_white_solid_clearroad keeps, and a table of the others with reasons."""
    input:
        table=f"{DATASET}/train.csv",
        images=f"{DATASET}/images",
        masks=f"{DATASET}/masks",
    output:
        images=directory(f"{DATASET}__{{suffix}}/images"),
        masks=directory(f"{DATASET}__{{suffix}}/masks"),
        captions=directory(f"{DATASET}__{{suffix}}/captions"),
        table=f"{DATASET}__{{suffix}}/train.csv",
        rejected=f"{DATASET}__{{suffix}}/rejected.csv",
    log:
        "logs/datasets/{dataset}__{suffix}.log",
    params:
        source=subpath(input.table, parent=True),
        folder=subpath(output.table, parent=True),
        code=code("filter_dataset.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/filter_dataset.py --dataset {params.source:q} --suffix {wildcards.suffix:q}"
        " --output {params.folder:q} > {log:q} 2>&1"


rule dataset:
    """Every dataset of the configuration."""
    input:
        expand(f"{DATASET}/train.csv", dataset=config["datasets"]),
