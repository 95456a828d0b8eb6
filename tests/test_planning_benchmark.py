"""The planning benchmark measures what it says: a rerun that finds Snakemake's record of every output."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_a_pretended_run_leaves_a_record_of_every_output(tmp_path):
    """Without the records Snakemake has less to compare, and the rerun is quicker than a real one."""
    child = (
        "import planning, pathlib, sys; folder = pathlib.Path(sys.argv[1]);"
        "sheet = planning.write_sheet(folder / 'clips.csv', 1); print(planning.pretend_done(folder, sheet))"
    )
    done = subprocess.run([sys.executable, "-c", child, tmp_path], cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    records = [path for path in (tmp_path / ".snakemake/metadata").rglob("*") if path.is_file()]
    assert len(records) == int(done.stdout.split()[-1]) > 50
