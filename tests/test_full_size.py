"""The benchmark of full-size stages: every stage's code runs, and the networks are of the published sizes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# What a CPU has none of: 8-bit products, cuDNN, FlashAttention-4, device memory to save, sam2's compiled predictor.
NEED_A_GPU = {
    ("edit", "fp8"),
    ("edit", "cuDNN attention"),
    ("edit_flash_4", "FlashAttention-4"),
    ("first_frame_memory", "offload sequential"),
    ("segment_compiled", "vos compile"),
}


def test_every_stage_gives_rows_of_finite_figures_and_leaves_out_only_what_needs_a_gpu(tmp_path: Path) -> None:
    sys.path.insert(0, str(BENCHMARKS))
    from full_size import STAGES

    output, table = tmp_path / "rows.jsonl", tmp_path / "rows.md"
    command = [sys.executable, BENCHMARKS / "full_size.py", "--size", "tiny", "--device", "cpu", "--budget", "1500"]
    done = subprocess.run(
        [*command, "--output", output, "--table", table],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert all(row["what"] in table.read_text() for row in rows)
    assert {row["stage"] for row in rows} == set(STAGES)
    assert {(row["stage"], row["what"]) for row in rows if "skipped" in row} == NEED_A_GPU
    for row in rows:
        names = ("seconds", "ratio", "operations", "share_of_card") if "skipped" not in row else ()
        figures = [row[name] for name in names if name in row]
        assert all(math.isfinite(value) and value > 0 for value in figures), row


def test_the_networks_are_of_the_published_sizes() -> None:
    """Parameters in millions, from the model cards and from specifications; nothing is allocated."""
    sys.path.insert(0, str(BENCHMARKS))
    from stages import caption, drive, flux, painter, segment
    from stages.measure import Bench

    bench = Bench("sizes", False, torch.device("meta"), Path("unused"))
    editor, first = painter.networks(bench), flux.parts(bench)
    driver = drive.build(bench).network
    found = {
        "CogVideoX": editor["transformer"],
        "branch": editor["branch"],
        "FLUX Fill": first["transformer"],
        "Qwen2.5-VL": caption.build(bench).model,
        "expert": driver.expert,
        "driver's language model": driver.vlm,
        "SAM2": segment.build(bench, compiled=False),
    }
    millions = {name: sum(p.numel() for p in network.parameters()) / 1e6 for name, network in found.items()}
    published = {
        "CogVideoX": 5570.5,
        "branch": 301.6,
        "FLUX Fill": 11902,
        "Qwen2.5-VL": 8292,
        "expert": 2300,
        # 8.77 B, and the rows of the trajectory's tokens.
        "driver's language model": 8800,
        "SAM2": 224.4,
    }
    assert millions == pytest.approx(published, rel=0.02)
