"""Print, as JSON, the jobs that Snakemake would run: called as a process of its own, because Snakemake keeps state.

    python tests/dag/plan.py '{"workdir": ".", "config": {...}, "configfiles": [...], "targets": [...]}'

The answer is a list of {"rule", "wildcards", "output", "reason"}: the plan itself, not its log.
"""

import json
import sys
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

ROOT = Path(__file__).parents[2]


def planned_jobs(workdir: Path, config: dict, configfiles: list[Path], targets: list[str]) -> list[dict]:
    """Plan with the Snakefile of this repository (or of `workdir`, where it has one)."""
    snakefile = workdir / "Snakefile" if (workdir / "Snakefile").exists() else ROOT / "Snakefile"
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=config, configfiles=configfiles),
            snakefile=snakefile,
            workdir=workdir,
        )
        dag = workflow.dag(DAGSettings(targets=set(targets)))
        dag.execute_workflow(executor="dryrun")
        # Private, and therefore why Snakemake's version is pinned: the public interface prints the plan only.
        planned = workflow._workflow_store.dag
        jobs = planned.needrun_jobs(exclude_finished=False)
        return [
            {
                "rule": job.rule.name,
                "wildcards": dict(job.wildcards_dict),
                "output": [str(o) for o in job.output],
                "reason": str(planned.reason(job)),
            }
            for job in jobs
        ]


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    jobs = planned_jobs(
        Path(request["workdir"]).resolve(),
        request.get("config", {}),
        [Path(path) for path in request.get("configfiles", [])],
        request.get("targets", []),
    )
    json.dump(jobs, sys.stdout)
