"""Scale: what keeps the plan of thousands of clips quick and small.

INPUTS:  none
OUTPUTS: none; measures on Snakemake's own objects, which hold for the version that is pinned.
         benchmarks/planning.py and benchmarks/scheduling.py measure what they bring
"""

import functools
import gc

import snakemake.rules
from snakemake.dag import DAG
from snakemake.jobs import Job
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.types import Quietness

# A plan is millions of objects that stay: the collector would walk all of them again and again.
gc.set_threshold(100_000, 50, 1_000)

# The same few input functions are looked into for every job.
snakemake.rules.get_function_params = functools.cache(snakemake.rules.get_function_params)

# No rule has a conda environment; to find that out, Snakemake computes and keeps the parameters of every job.
Job.conda_env_spec = None

# No output lies in a folder that another job makes: a property of the rules (tests/dag), which needs no look at every job.
DAG.check_directory_outputs = lambda dag: None


# Up to this size a file's time alone is no reason to run again: Snakemake compares checksums, by default only up to 1 MB,
# and videos are larger. A job's inputs are read once more when it ends, which is little beside the job.
COMPARED_BYTES = 256 << 20


# A second workflow in one process finds it wrapped.
begin_dag = getattr(DAG.__init__, "__wrapped__", DAG.__init__)


@functools.wraps(begin_dag)
def compare_videos(dag, workflow, *args, **settings) -> None:
    """A DAG begins; only then are its settings there."""
    workflow.dag_settings.max_checksum_file_size = max(workflow.dag_settings.max_checksum_file_size, COMPARED_BYTES)
    begin_dag(dag, workflow, *args, **settings)


DAG.__init__ = compare_videos


if workflow.output_settings.dryrun and Quietness.RULES in (workflow.output_settings.quiet or ()):
    # A dry-run goes through all jobs as if they ran, in order to announce them; a quiet one announces none.
    JobScheduler.schedule = lambda scheduler: True


async def ask_new_sizes(scheduler, jobs) -> None:
    """Sizes of the inputs of ready jobs, each asked for once.

    Snakemake asks for all of them whenever any job ends: with thousands of jobs ready that takes longer than the jobs.
    """
    for path in {path for job in jobs for path in job.input} - scheduler._input_sizes.keys():
        scheduler._input_sizes[path] = await path.size() if await path.exists() else None


JobScheduler.update_input_sizes = ask_new_sizes
