"""Relane: repaint lane markings in driving video and measure whether a driving model's path changes."""

from snakemake.utils import min_version

min_version("9.27.1")


# By the Snakefile and not by the working directory, so that --directory may point elsewhere.
configfile: f"{workflow.basedir}/config/config.yaml"


include: "rules/scale.smk"
include: "rules/common.smk"
include: "rules/clips.smk"
include: "rules/masks.smk"
include: "rules/dataset.smk"
include: "rules/lora.smk"
include: "rules/edit.smk"
include: "rules/quality.smk"
include: "rules/drive.smk"
include: "rules/report.smk"


# The demo's small models, and how they were trained; a copy without them does all the rest.
if (Path(workflow.basedir) / "simworld").is_dir():

    include: "simworld/rules/tiny.smk"


rule all:
    default_target: True
    input:
        rules.report.input,


onstart:
    check_checkpoints()


onsuccess:
    end_workers()


onerror:
    end_workers()
