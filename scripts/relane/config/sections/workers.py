"""Section `workers` (scripts/on_gpu.py)."""

from relane.config.option import Positive, Section, option


class Workers(Section, key="workers"):
    """Processes that keep models loaded from item to item, one a GPU (`docs/workers.md`). Never triggers a rerun."""

    enabled: bool = option(True, "`false`: every job loads its models itself.")
    idle_seconds: float = option(
        300, "A worker without work leaves after so long; all leave at the run's end.", unit="s", gt=0
    )
    cpu_slots: Positive = option(
        2, "Workers at once on a machine without a GPU; there, give Snakemake's `gpu` resource the same number."
    )
