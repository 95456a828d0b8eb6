"""What Snakemake itself costs a job where many are ready, with rules/scale.smk and without: trivial jobs, three inputs.

.venv/bin/python benchmarks/scheduling.py [--jobs 1000]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SNAKEFILE = """
{include}
rule all:
    input: expand("done/{{number}}", number=range({jobs}))
rule job:
    input: "in/{{number}}_a", "in/{{number}}_b", "in/{{number}}_c"
    output: "done/{{number}}"
    shell: "touch {{output}}"
"""


def seconds(jobs: int, include: str, *flags: str) -> tuple[float, float]:
    """Seconds, and seconds of Snakemake's own work, of a run of `jobs` jobs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Snakefile").write_text(SNAKEFILE.format(include=include, jobs=jobs))
        (folder / "in").mkdir()
        for number in range(jobs):
            for letter in "abc":
                (folder / f"in/{number}_{letter}").touch()
        command = [Path(sys.executable).with_name("snakemake"), "-c2", "--quiet", "all", *flags]
        started = time.monotonic()
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            said = process.stderr.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(said.decode())
        return time.monotonic() - started, used.ru_utime + used.ru_stime


def main() -> None:
    """Two runs, two rows."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--jobs", type=int, default=1000)
    args = options.parse_args()
    ours = f'include: "{ROOT / "rules/scale.smk"}"'
    rows = {"Snakemake as it is": ("",), "with rules/scale.smk, greedy": (ours, "--scheduler", "greedy")}
    for name, (include, *flags) in rows.items():
        wall, busy = seconds(args.jobs, include, *flags)
        print(f"{name:32} {args.jobs} jobs on 2 cores: {wall:.1f} s, {1000 * busy / args.jobs:.0f} ms of work a job")


if __name__ == "__main__":
    main()
