"""How long Snakemake plans a large run, and how much memory that takes: 2,000 clips x 5 instructions by default.

    .venv/bin/python benchmarks/planning.py [--clips 2000]

Prints a row: jobs, seconds, peak memory. Nothing is executed, and no clip needs to exist.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTRUCTIONS = " || ".join(
    f"lane {kind}"
    for kind in (
        "single white solid",
        "double white solid",
        "single yellow solid",
        "double yellow solid",
        "single white dashed",
    )
)


def main() -> None:
    """Plan once in an empty folder and print the row."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clips", type=int, default=2000)
    clips = options.parse_args().clips
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "clips.csv"
        rows = [f"clip{number:06d},camera_front_wide_120fov,,hf://x/y@main,," for number in range(clips)]
        sheet.write_text("\n".join(["clip_id,camera,uri,pai_root,size,checksum", *rows]) + "\n")
        command = [
            Path(sys.executable).with_name("snakemake"),
            "-n",
            "--quiet",
            "rules",
            "-s",
            ROOT / "Snakefile",
            "-c1",
        ]
        command += ["--directory", folder, "--config", f"clips={sheet}", f"instructions={INSTRUCTIONS}"]
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    total = next(line.split()[1] for line in reversed(done.stdout.splitlines()) if line.startswith("total"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{clips} clips x 5 instructions: {total} jobs planned in {seconds:.1f} s, peak {peak:.2f} GiB")


if __name__ == "__main__":
    main()
