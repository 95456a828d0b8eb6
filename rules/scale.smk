"""Scale: what keeps the plan of thousands of clips quick and small.

INPUTS:  none
OUTPUTS: none; replaces private things of Snakemake, which only hold for the version that they were written for: with any
         other one, or where one of them is gone, nothing is replaced, and the run says so. The result is the same, later.
         What each brings stands in benchmarks/ORCHESTRATION.md, and what of it others may use in docs/snakemake.md.
         RELANE_UNPATCHED names those to leave out, divided by commas, or `all`
"""

import asyncio
import functools
import gc
import os
import pkgutil
import sys

import snakemake
from snakemake.settings.types import Quietness

WRITTEN_FOR = "9.27.1"

# Up to this size a file's time alone is no reason to run again: Snakemake compares checksums, by default only up to 1 MB,
# and videos are larger. A job's inputs are read once more when it ends, which is little beside the job.
COMPARED_BYTES = 256 << 20


def comparing_videos(begin_dag):
    """A DAG begins; only then are its settings there."""

    @functools.wraps(begin_dag)
    def begin(dag, workflow, *args, **settings) -> None:
        given = workflow.dag_settings
        given.max_checksum_file_size = max(given.max_checksum_file_size, COMPARED_BYTES)
        begin_dag(dag, workflow, *args, **settings)

    return begin


async def ask_new_sizes(scheduler, jobs) -> None:
    """Sizes of the inputs of ready jobs, each asked for once, those of remote storage at the same time.

    Snakemake asks for all of them whenever any job ends: with thousands of jobs ready that takes longer than the jobs.
    """

    async def size(path) -> tuple:
        return path, await path.size() if await path.exists() else None

    new = {path for job in jobs for path in job.input} - scheduler._input_sizes.keys()
    scheduler._input_sizes.update(await asyncio.gather(*map(size, new)))


# Owner, name, and what takes its place, made of what was there.
PATCHES = [
    # The same few input functions are looked into for every job.
    ("snakemake.rules", "get_function_params", functools.cache),
    # No rule has a conda environment; to find that out, Snakemake computes and keeps the parameters of every job.
    ("snakemake.jobs:Job", "conda_env_spec", lambda found: None),
    # No output lies in a folder that another job makes: a property of the rules (tests/dag), which needs no look at every job.
    ("snakemake.dag:DAG", "check_directory_outputs", lambda found: lambda dag: None),
    ("snakemake.dag:DAG", "__init__", comparing_videos),
    ("snakemake.scheduling.job_scheduler:JobScheduler", "update_input_sizes", lambda found: ask_new_sizes),
]

if workflow.output_settings.dryrun and Quietness.RULES in (workflow.output_settings.quiet or ()):
    # A dry-run goes through all jobs as if they ran, in order to announce them; a quiet one announces none.
    PATCHES.append(
        ("snakemake.scheduling.job_scheduler:JobScheduler", "schedule", lambda found: lambda scheduler: True)
    )


def owners() -> dict[str, object]:
    """The owners of all that is replaced. Raises ImportError or AttributeError where something is not there."""
    found = {owner: pkgutil.resolve_name(owner) for owner, _, _ in PATCHES}
    for owner, name, _ in PATCHES:
        getattr(found[owner], name)
    return found


def patch(left_out: list[str]) -> str:
    """Replace all of it, or nothing; why nothing, if so."""
    if snakemake.__version__ != WRITTEN_FOR:
        return f"Snakemake is {snakemake.__version__}, not {WRITTEN_FOR}"
    try:
        found = owners()
    except (ImportError, AttributeError) as error:
        return f"Snakemake {WRITTEN_FOR} is not as it was: {error}"
    for owner, name, replaced in PATCHES:
        if name not in left_out:
            before = getattr(found[owner], name)
            # A second workflow in one process finds it wrapped.
            setattr(found[owner], name, replaced(getattr(before, "__wrapped__", before)))
    return ""


UNPATCHED = os.environ.get("RELANE_UNPATCHED", "").split(",")

if "gc" not in UNPATCHED and "all" not in UNPATCHED:
    # A plan is millions of objects that stay: the collector would walk all of them again and again.
    gc.set_threshold(100_000, 50, 1_000)

why_not = "RELANE_UNPATCHED is set to all" if "all" in UNPATCHED else patch(UNPATCHED)
if why_not and workflow.is_main_process:
    print(
        f"planned with Snakemake as it is, which takes longer: {why_not}; touched files of over 1 MB are made again, "
        f"unless there is --max-checksum-file-size {COMPARED_BYTES}",
        file=sys.stderr,
    )
