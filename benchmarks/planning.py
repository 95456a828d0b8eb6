"""How long Snakemake plans a large run, and how much memory that takes: 2,000 clips x 5 instructions by default.

    .venv/bin/python benchmarks/planning.py [--clips 2000] [--rerun]

Prints a row: jobs, seconds, peak memory. Nothing is executed, and no clip needs to exist. With --rerun every output is
then written as an empty file, with the record that Snakemake keeps of it, and a second row says how long a run takes
that finds all of them there and has nothing to do.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LANES = ["single white solid", "double white solid", "single yellow solid", "double yellow solid"]
INSTRUCTIONS = " || ".join(f"lane {lane}" for lane in [*LANES, "single white dashed"])
# All outputs get one time, so that none is newer than what was made of it.
WHEN = 1_700_000_000


def write_sheet(path: Path, clips: int) -> Path:
    """A sheet of streamed clips."""
    rows = [f"clip{number:06d},camera_front_wide_120fov,,hf://x/y@main,," for number in range(clips)]
    path.write_text("\n".join(["clip_id,camera,uri,pai_root,size,checksum", *rows]) + "\n")
    return path


def snakemake(folder: Path, sheet: Path, *flags: str) -> tuple[str, str]:
    """Run Snakemake in a folder; returns what it printed, and seconds and peak memory as words."""
    command = [Path(sys.executable).with_name("snakemake"), *flags, "--quiet", "rules", "-s", ROOT / "Snakefile", "-c1"]
    command += ["--directory", folder, "--config", f"clips={sheet}", f"instructions={INSTRUCTIONS}"]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        printed = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        sys.exit(printed)
    busy = used.ru_utime + used.ru_stime
    return printed, f"{seconds:.1f} s ({busy:.1f} s of one core), peak {used.ru_maxrss / 2**20:.2f} GiB"


def pretend_done(folder: Path, sheet: Path) -> int:
    """Write every output of the plan, empty, and Snakemake's record of each; returns how many."""
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config={"clips": str(sheet), "instructions": INSTRUCTIONS}),
            snakefile=ROOT / "Snakefile",
            workdir=folder,
        )
        workflow.dag(DAGSettings()).execute_workflow(executor="dryrun")
        # Private, and therefore why Snakemake's version is pinned.
        inner = workflow._workflow_store
        inner.iocache.deactivate()
        jobs = list(inner.dag.needrun_jobs(exclude_finished=False))  # an iterator, and used twice
        outputs = [output for job in jobs for output in job.output]
        for output in outputs:
            write_empty(Path(output), directory=bool(output.is_directory))
        rows = [f"{line.split(',')[0]}.{line.split(',')[1]},49,ok" for line in sheet.read_text().splitlines()[1:]]
        Path("results/002/sam2/metadata.csv").write_text("\n".join(["video,frames,status", *rows]) + "\n")
        for output in outputs:
            os.utime(output, (WHEN, WHEN))

        async def record() -> None:
            for job in jobs:
                await inner.persistence.finished(job)

        asyncio.run(record())
    return len(outputs)


def write_empty(path: Path, directory: bool) -> None:
    """An empty file, or a folder."""
    (path if directory else path.parent).mkdir(parents=True, exist_ok=True)
    if not directory:
        path.touch()


def main() -> None:
    """Plan once in an empty folder and print the row; with --rerun, once more where all is done."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=int, default=2000)
    options.add_argument("--rerun", action="store_true", help="also time a run with nothing to do")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sheet = write_sheet(folder / "clips.csv", args.clips)
        printed, took = snakemake(folder, sheet, "-n")
        total = next(line.split()[1] for line in reversed(printed.splitlines()) if line.startswith("total"))
        print(
            f"{args.clips} clips x {INSTRUCTIONS.count('||') + 1} instructions: {total} jobs planned in {took}",
            flush=True,
        )
        if args.rerun:
            # A process of its own, because Snakemake keeps state.
            child = "import planning, sys; print(planning.pretend_done(*map(planning.Path, sys.argv[1:])))"
            command = [sys.executable, "-c", child, folder, sheet]
            done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            printed, took = snakemake(folder, sheet)
            if "Nothing to be done" not in printed:
                sys.exit(printed)
            print(f"the same with all {done.stdout.split()[-1]} outputs there: nothing to do, known in {took}")


if __name__ == "__main__":
    main()
