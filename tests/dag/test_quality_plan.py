"""Metrics whose weights are not there: said once when a run is planned, and measured when the weights appear."""

import subprocess
import sys
from pathlib import Path

from tests.dag.conftest import ROOT, plan, write_sheet

INSTRUCTIONS = "lane double yellow solid"


def dry_run(folder: Path, sheet: str, *more: str) -> str:
    """What a dry-run says on both streams."""
    command = [Path(sys.executable).with_name("snakemake"), "-n", "--quiet", "rules", "-s", ROOT / "Snakefile"]
    command += ["--directory", folder, "--config", f"clips={sheet}", f"instructions={INSTRUCTIONS}", *more]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_planning_names_the_metrics_that_will_be_absent_in_one_line(workspace):
    sheet = write_sheet(workspace / "clips.csv", clips=2)
    lines = [line for line in dry_run(workspace, sheet).splitlines() if "metrics left out" in line]
    assert len(lines) == 1
    assert "LPIPS (no folder checkpoints/lpips)" in lines[0]
    assert "scripts/fetch_checkpoints.py clip_score clip_temporal lpips" in lines[0]
    # Left blank on purpose, or there: nothing to say.
    for name in ("clip-vit-large-patch14", "clip-vit-base-patch32"):
        (workspace / "checkpoints" / name).mkdir(parents=True)
    assert "metrics left out" not in dry_run(workspace, sheet, 'checkpoints={lpips: ""}')


def test_when_the_weights_appear_their_metrics_are_measured_and_nothing_is_edited_again(workspace):
    child = "import planning, pathlib, sys; planning.pretend_done(*map(pathlib.Path, sys.argv[1:]))"
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import planning
    finally:
        sys.path.pop(0)
    sheet = planning.write_sheet(workspace / "clips.csv", 1)
    done = subprocess.run(
        [sys.executable, "-c", child, workspace, sheet], cwd=ROOT / "benchmarks", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    asked = {"clips": str(sheet), "instructions": planning.INSTRUCTIONS}
    assert plan(workspace, **asked).rules() == set()
    (workspace / "checkpoints/lpips").mkdir(parents=True)
    (workspace / "checkpoints/lpips/squeezenet1_1-b8a52dc0.pth").write_bytes(b"weights")
    rules = plan(workspace, **asked).rules()
    assert {"evaluate_edit", "instruction_report"} <= rules
    assert not rules & {"prepare_clip", "segment_road", "first_frame", "edit_video", "drive_arm"}
