"""Scale: what keeps the plan of thousands of clips quick and small.

INPUTS:  none
OUTPUTS: none; two measures on Snakemake's own objects, which hold for the version that is pinned.
         benchmarks/planning.py measures what they bring
"""

import gc

from snakemake.jobs import Job
from snakemake.settings.types import Quietness

# A plan is millions of objects that stay: the collector would walk all of them again and again.
gc.set_threshold(100_000, 50, 1_000)

if workflow.output_settings.dryrun and Quietness.RULES in workflow.output_settings.quiet:
    # A quiet dry-run still composes every job's announcement, its command three times over, and throws it away.
    Job.log_info = lambda job, *args, **kwargs: None
