"""Print, as JSON, the jobs that Snakemake would run: called as a process of its own, because Snakemake keeps state.

    python tests/dag/plan.py '{"workdir": ".", "config": {...}, "configfiles": [...], "targets": [...]}'

The answer is a list of {"rule", "wildcards", "output", "reason", "own"}: the plan itself, not its log. `own` says
whether the job itself changed (params, code, inputs), not only what it is made of. With a list of such requests there
is a list of answers; with "finish": true the planned outputs are then written, with Snakemake's record of them, as if
they were made.
"""

import asyncio
import json
import multiprocessing
import sys
import traceback
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

ROOT = Path(__file__).parents[2]
PRETENDED_BYTES = 2 << 20  # of a video: above the size up to which Snakemake compares checksums by itself


def planned_jobs(
    workdir: Path, config: dict, configfiles: list[Path], targets: list[str], finish: bool = False
) -> list[dict]:
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
        inner = workflow._workflow_store
        planned = inner.dag
        jobs = list(planned.needrun_jobs(exclude_finished=False))
        answer = [
            {
                "rule": job.rule.name,
                "wildcards": dict(job.wildcards_dict),
                "output": [str(o) for o in job.output],
                "reason": str(planned.reason(job)),
                "own": is_own(planned.reason(job)),
            }
            for job in jobs
        ]
        if finish:
            pretend_done(inner, [job for level in planned.toposorted() for job in level])
        return answer


def is_own(reason) -> bool:
    """Whether a job runs because it or a file that no job makes changed."""
    changed = reason.params_changed or reason.code_changed or reason.input_changed
    return bool(changed or reason.missing_output or reason.updated_input - reason.updated_input_run)


def pretend_done(workflow, jobs: list) -> None:
    """Write every output, in the order of the jobs, and Snakemake's record of each."""
    workflow.iocache.deactivate()
    for job in jobs:
        for output in job.output:
            path = Path(output)
            (path if output.is_directory else path.parent).mkdir(parents=True, exist_ok=True)
            if output.is_directory:
                (path / ".snakemake_timestamp").touch()
            elif path.name == "metadata.csv":
                videos = [Path(timing).parent.name for timing in job.input]
                path.write_text("\n".join(["video,frames,status", *(f"{video},49,ok" for video in videos)]) + "\n")
            elif path.suffix == ".json":
                path.write_text(json.dumps({"frames": 60}))
            else:
                with open(path, "wb") as file:
                    file.truncate(PRETENDED_BYTES if path.suffix == ".mp4" else 1)

    async def record() -> None:
        for job in jobs:
            await workflow.persistence.finished(job)

    asyncio.run(record())


def answer(request: dict) -> list[dict]:
    """The plan for one request."""
    return planned_jobs(
        Path(request["workdir"]).resolve(),
        request.get("config", {}),
        [Path(path) for path in request.get("configfiles", [])],
        request.get("targets", []),
        request.get("finish", False),
    )


def plain_answer(request: dict) -> list[dict]:
    """The same for another process: Snakemake's errors cannot be sent to it, their words can."""
    try:
        return answer(request)
    except Exception as error:
        raise RuntimeError("".join(traceback.format_exception(error))) from None


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if isinstance(given, list):
        # A process each, and Snakemake is imported once.
        with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
            answers = pool.map(plain_answer, given, chunksize=1)
    else:
        answers = answer(given)
    json.dump(answers, sys.stdout)
