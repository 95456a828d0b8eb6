"""rules/scale.smk replaces private things of one version of Snakemake, and nothing of any other."""

import subprocess
import sys
from pathlib import Path

import pytest

SCALE = Path(__file__).parents[1] / "rules" / "scale.smk"
# What is replaced, as a run of the file leaves it; the file is plain Python but for Snakemake's `workflow`.
PROGRAM = """
import sys, types
import snakemake.api
import snakemake.rules
from snakemake.dag import DAG
from snakemake.jobs import Job
from snakemake.scheduling.job_scheduler import JobScheduler
def state():
    return [DAG.__init__, Job.conda_env_spec, JobScheduler.schedule, JobScheduler.update_input_sizes]
{before}
start = state()
output = types.SimpleNamespace(dryrun=False, quiet=None)
names = {{"workflow": types.SimpleNamespace(output_settings=output, is_main_process={main})}}
for _ in range({times}):
    exec(compile(open({path!r}).read(), "scale.smk", "exec"), names)
print(sum(one is not other for one, other in zip(start, state())), DAG.__init__.__qualname__)
print(hasattr(getattr(DAG.__init__, "__wrapped__", None), "__wrapped__"))
"""


def replaced(before: str = "", main: bool = True, times: int = 1, **environment: str) -> tuple[int, bool, list[str]]:
    """How many of the watched things another took the place of, whether one is wrapped twice, and what is said."""
    program = PROGRAM.format(before=before, main=main, times=times, path=str(SCALE))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment or None, check=True
    )
    count, twice = done.stdout.splitlines()
    return int(count.split()[0]), twice == "True", done.stderr.splitlines()


def test_the_version_that_is_pinned_is_patched_and_nothing_is_said():
    assert replaced() == (3, False, [])


def test_a_second_workflow_in_one_process_finds_nothing_wrapped_twice():
    assert replaced(times=2) == (3, False, [])


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("snakemake.__version__ = '9.99.0'", "Snakemake is 9.99.0, not 9.27.1"),
        ("del JobScheduler.update_input_sizes; JobScheduler.update_input_sizes_ = 0", "is not as it was"),
        ("del sys.modules['snakemake.jobs'], snakemake.jobs; sys.modules['snakemake.jobs'] = None", "is not as it was"),
    ],
    ids=["another version", "a name gone", "a module gone"],
)
def test_anything_else_is_left_as_it_is_and_that_is_said_once(before, why):
    program = before
    if "update_input_sizes" in before:  # what is gone cannot be watched
        program += "\ndef state(): return [DAG.__init__, Job.conda_env_spec, JobScheduler.schedule]"
    count, _, said = replaced(program)
    assert count == 0
    (line,) = said
    assert why in line
    assert "planned with Snakemake as it is" in line
    assert "--max-checksum-file-size 268435456" in line
    assert replaced(program, main=False)[2] == [], "the processes of jobs do not repeat it"


def test_it_can_be_left_out_by_name_or_altogether():
    count, _, said = replaced(RELANE_UNPATCHED="all")
    assert (count, len(said)) == (0, 1)
    assert replaced(RELANE_UNPATCHED="conda_env_spec,gc")[0] == 2
