"""LoRA: FLUX Fill trained on a dataset of lane markings.

INPUTS:  results/datasets/<dataset>/train.csv, plain or filtered, as loras.<name>.dataset says
OUTPUTS: results/lora/{lora}/pytorch_lora_weights.safetensors   loads in FluxFillPipeline.load_lora_weights
         results/lora/{lora}/checkpoint-<step>/                 to resume from; kept when a run is killed
         results/lora/{lora}/loss_history.json, training_summary.txt, TensorBoard events
         results/lora/{lora}/loss.png                           the loss curve
"""

LORA = layout.LORA


wildcard_constraints:
    lora=r"[A-Za-z0-9][A-Za-z0-9_-]*",


def lora_dataset(wildcards) -> str:
    """The table that a LoRA is trained on."""
    if wildcards.lora not in config["loras"]:
        raise WorkflowError(f"{wildcards.lora}: no such LoRA; config.loras has {', '.join(config['loras']) or 'none'}")
    return f"{layout.DATASET}/train.csv".format(dataset=config["loras"][wildcards.lora]["dataset"])


rule train_lora:
    """Rank-128 adapters on the attention of FLUX Fill's transformer; resumes from its latest checkpoint."""
    input:
        lora_dataset,
    output:
        weights=f"{LORA}/pytorch_lora_weights.safetensors",
        history=f"{LORA}/loss_history.json",
        summary=f"{LORA}/training_summary.txt",
    log:
        "logs/lora/{lora}.log",
    benchmark:
        "benchmarks/results/lora/{lora}.tsv"
    priority: 89
    # A training that was interrupted goes on from its last checkpoint, so trying again is cheap.
    retries: 2
    resources:
        gpu=1,
        mem_mb=grows(64000),
        runtime=1440,
        device=config["devices"]["painter"],
    params:
        dataset=subpath(input[0], parent=True),
        folder=subpath(output.weights, parent=True),
        flags=flags("lora"),
        # Training sees what painting will: the same part of the road, with the same hole.
        painting=arguments.flags(config["region"] | {"keep_masked_pixels": config["first_frame"]["keep_masked_pixels"]}),
        weights=weights("flux_fill"),
        code=code("train_lora.py"),
    shell:
        "{ON_GPU} --record {output.history:q} --weights {params.weights:q}"
        " {SCRIPTS:q}/train_lora.py --dataset {params.dataset:q} --flux-fill {config[checkpoints][flux_fill]:q}"
        " {params.flags} {params.painting} --device {resources.device}"
        " --output {params.folder:q} > {log:q} 2>&1"


rule draw_loss:
    """The loss curve, by a job of its own: another chart is no reason to train again."""
    input:
        f"{LORA}/loss_history.json",
    output:
        f"{LORA}/loss.png",
    log:
        "logs/lora/{lora}_loss.log",
    params:
        code=code("draw_loss.py"),
    shell:
        "{PYTHON:q} {SCRIPTS:q}/draw_loss.py --history {input:q} --output {output:q} > {log:q} 2>&1"


def lora_path() -> str:
    """The LoRA that first_frame.lora names: one of `loras` by its weights, a path as it is; blank is none."""
    named = config["first_frame"]["lora"]
    if not named or not config["first_frame"]["lora_scale"]:
        return ""
    return layout.LORA_WEIGHTS.format(lora=named) if named in config["loras"] else named


LORA_PATH = lora_path()


def trained_lora(wildcards) -> list[str]:
    """A LoRA that is trained first."""
    return [LORA_PATH] if LORA_PATH and config["first_frame"]["lora"] in config["loras"] else []


def painter_weights(wildcards) -> str:
    """The digests of the painter, the critic, and a LoRA that a path names: it is a checkpoint like the others."""
    found = checkpoint_digests([*painter_module(PAINTER).CHECKPOINTS, "qwen"])
    if LORA_PATH and not trained_lora(wildcards):
        found["lora"] = lora_digest(LORA_PATH)
        if found["lora"] == "absent":
            known = ", ".join(config["loras"]) or "none"
            raise WorkflowError(f"first_frame.lora {LORA_PATH!r}: no such file or folder; loras has {known}")
    return json.dumps(found)


rule lora:
    """Every LoRA of the configuration."""
    input:
        expand(f"{LORA}/{{file}}", lora=config["loras"], file=("pytorch_lora_weights.safetensors", "loss.png")),
