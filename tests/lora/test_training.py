"""A training can be killed and goes on as if nothing had happened; wrong input is refused before anything is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import draw_loss
import numpy as np
import pytest
import torch
import train_lora
from diffusers import FluxFillPipeline
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from relane.errors import InputError
from relane.training import dataset
from relane.training.lora import curve, trainer
from relane.training.lora.settings import Settings

SCRIPTS = Path(train_lora.__file__).parent
# A training that SIGKILLs itself just after it has written a checkpoint, and one more step.
KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
import train_lora
from relane.training.lora import trainer
step = trainer.Trainer._step
def killed(self):
    if self.progress.step == 21:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self)
trainer.Trainer._step = killed
train_lora.main(sys.argv[1:])
"""


def history(folder):
    return json.loads((folder / "loss_history.json").read_text())


def test_forty_steps_are_twenty_steps_a_sigkill_and_twenty_more(flags, tmp_path):
    more = ("--max-train-steps", 40, "--checkpointing-steps", 10, "--sample-every", 20, "--sample-inference-steps", 1)
    train_lora.main(flags(*more, output="whole"))
    killed = flags(*more, output="killed")
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    child = subprocess.run([sys.executable, "-c", KILLED, *killed], env=environment, capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    assert not (tmp_path / "killed/loss_history.json").exists()
    train_lora.main(killed)
    whole, resumed = tmp_path / "whole", tmp_path / "killed"
    assert history(whole) == history(resumed)
    assert [one["step"] for one in history(whole)["training"]] == list(range(1, 41))
    assert [one["step"] for one in history(whole)["validation"]] == [20, 40]
    for name in ("pytorch_lora_weights.safetensors", "checkpoint-40/adapter_model.safetensors", "loss_history.json"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), name
    assert (whole / "samples/step_000040.png").read_bytes() == (resumed / "samples/step_000040.png").read_bytes()
    summary = json.loads((resumed / "training_summary.json").read_text())
    assert summary["resumed_at_steps"] == [20]
    # One file a process. Read apart: within one second their names do not sort by time, and the reader drops one.
    files = [EventAccumulator(str(file)).Reload() for file in (resumed / "tensorboard").rglob("events.*")]
    steps = [
        event.step for file in files if "train/loss" in file.Tags()["scalars"] for event in file.Scalars("train/loss")
    ]
    assert sorted(steps) == list(range(1, 41))


def test_a_training_leaves_what_it_promises(flags, tmp_path, tiny):
    train_lora.main(flags("--max-train-steps", 6, "--checkpoints-total-limit", 2, "--sample-every", 3))
    out = tmp_path / "lora"
    assert {path.name for path in out.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-6"}
    assert {path.name for path in (out / "samples").iterdir()} == {"step_000003.png", "step_000006.png"}
    summary = json.loads((out / "training_summary.json").read_text())
    assert summary["run_id"].startswith("lora_20")
    assert (summary["dataset_rows"], summary["training_rows"], summary["steps"]) == (8, 7, 6)
    assert (summary["lora_tensors"], summary["gpu_peak_bytes"] >= 0) == (20, True)
    text = (out / "training_summary.txt").read_text()
    assert summary["run_id"] in text
    assert "final loss" in text
    draw_loss.main(["--history", str(out / "loss_history.json"), "--output", str(out / "loss.png")])
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    pipe = FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)
    pipe.load_lora_weights(str(out), weight_name="pytorch_lora_weights.safetensors", local_files_only=True)
    assert any("lora_B" in name and p.abs().max() > 0 for name, p in pipe.transformer.named_parameters())


def test_only_the_adapter_learns_and_the_validation_loss_falls(flags, tmp_path):
    more = ("--max-train-steps", 60, "--sample-every", 1, "--sample-inference-steps", 1, "--rank", 16)
    train_lora.main(flags(*more))
    losses = [one["loss"] for one in history(tmp_path / "lora")["validation"]]
    assert losses[-1] < 0.9 * losses[0]


def test_gradient_checkpointing_changes_memory_not_numbers(flags, tmp_path):
    for value in ("true", "false"):
        train_lora.main(flags("--gradient-checkpointing", value, output=value))
    assert history(tmp_path / "true") == history(tmp_path / "false")


def test_a_rerun_after_the_end_trains_nothing_and_writes_the_outputs_again(flags, tmp_path):
    train_lora.main(flags())
    weights = tmp_path / "lora/pytorch_lora_weights.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    train_lora.main(flags())
    assert weights.read_bytes() == before


def test_other_settings_start_anew_and_keep_the_old_checkpoints_aside(flags, tmp_path, capsys):
    train_lora.main(flags())
    train_lora.main(flags("--rank", 2, "--learning-rate", 1e-3))
    assert "rank (4, now 2), learning_rate (0.01, now 0.001); starting anew" in capsys.readouterr().out
    out = tmp_path / "lora"
    assert (out / "superseded/checkpoint-4/optimizer.pt").is_file()
    assert json.loads((out / "training_summary.json").read_text())["resumed_at_steps"] == []
    name = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight"
    assert load_file(out / "pytorch_lora_weights.safetensors")[name].shape == (2, 64)


def test_another_row_is_another_training(flags, rows_folder, tmp_path, capsys):
    train_lora.main(flags())
    dataset.write_picture(rows_folder / "images/0.png", np.zeros((32, 48, 3), np.uint8))
    train_lora.main(flags())
    assert "is of another training: dataset (" in capsys.readouterr().out


def test_a_checkpoint_given_by_name_must_fit(flags, tmp_path):
    train_lora.main(flags())
    checkpoint = tmp_path / "lora/checkpoint-4"
    with pytest.raises(InputError, match=r"a checkpoint of rank 4, but lora\.rank is 8"):
        train_lora.main(flags("--rank", 8, "--resume", checkpoint, output="other"))
    with pytest.raises(InputError, match=r"beyond the last step \(3\)"):
        train_lora.main(flags("--max-train-steps", 3, "--resume", checkpoint, output="other"))
    with pytest.raises(InputError, match="no checkpoint here"):
        train_lora.main(flags("--resume", tmp_path, output="other"))
    (checkpoint / "optimizer.pt").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"optimizer\.pt: cannot be read"):
        train_lora.main(flags("--resume", checkpoint, output="other"))
    assert not list((tmp_path / "other").glob("checkpoint-*"))


def spoil_list(folder):
    (folder / "train.csv").write_text("image,mask,prompt,prompt_2\n../x.png,m.png,p,p\n")


def spoil_mask(folder):
    dataset.write_picture(folder / "masks/4.png", np.zeros((32, 48), bool))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(spoil_list, r"line 2: image '\.\./x\.png' points outside"), (spoil_mask, "line 6: .*the mask is empty")],
)
def test_a_bad_dataset_is_refused_and_the_last_training_is_still_there(flags, rows_folder, tmp_path, spoil, message):
    train_lora.main(flags())
    before = {path: path.read_bytes() for path in (tmp_path / "lora").rglob("*") if path.is_file()}
    spoil(rows_folder)
    with pytest.raises(InputError, match=message):
        train_lora.main(flags("--rank", 2))
    assert before == {path: path.read_bytes() for path in (tmp_path / "lora").rglob("*") if path.is_file()}


def test_pictures_of_several_sizes_need_batches_of_one_or_a_common_size(flags, rows_folder, tmp_path):
    dataset.write_picture(rows_folder / "images/7.png", np.full((48, 32, 3), 90, np.uint8))
    dataset.write_picture(rows_folder / "masks/7.png", np.ones((48, 32), bool))
    train_lora.main(flags())
    with pytest.raises(InputError, match=r"7\.png is 32x48 in training"):
        train_lora.main(flags("--train-batch-size", 2, output="two"))
    train_lora.main(flags("--train-batch-size", 2, "--height", 32, "--width", 32, output="two"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--rank", 0), r"lora\.rank: 0 should be greater than or equal to 1"),
        (("--height", 32), r"lora\.height, lora\.width: 32x0"),
        (("--height", 40, "--width", 40), r"lora\.height: 40 should be a multiple of 16"),
        (("--checkpointing-steps", 0), r"lora\.checkpointing_steps"),
        (("--flux-fill", "/nowhere"), r"/nowhere: its \w+ does not load"),
        (("--learning-rate", 1e30), "the training has diverged"),
    ],
)
def test_wrong_settings_are_refused_by_name(flags, wrong, message):
    with pytest.raises(InputError, match=message):
        train_lora.main(flags(*wrong))


def test_the_8_bit_optimizer_says_which_library_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(InputError, match="needs the library bitsandbytes"):
        trainer.make_optimizer(Settings(optimizer="adamw8bit"), [torch.nn.Parameter(torch.zeros(2))])


@given(st.integers(1, 40), st.integers(0, 5), st.integers())
def test_every_epoch_shows_every_row_once(rows, epoch, seed):
    seen = [trainer.row_at(position, rows, seed) for position in range(epoch * rows, (epoch + 1) * rows)]
    assert sorted(seen) == list(range(rows))


@given(st.integers(1, 100), st.integers(0, 10), st.integers())
def test_held_out_rows_are_at_most_an_eighth_and_never_trained_on(rows, wanted, seed):
    train, held = trainer.held_out(rows, wanted, seed)
    assert sorted(train + held) == list(range(rows))
    assert len(held) == min(wanted, rows // 8)


def test_steps_are_epochs_unless_given():
    assert Settings().total_steps(10) == 13  # 5 epochs of 10 rows, 4 rows a step
    assert Settings().total_steps(10, processes=2) == 7
    assert Settings(max_train_steps=9).total_steps(10) == 9


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(1, 10))
def test_the_running_mean_is_the_mean_of_the_last_values(values, window):
    expected = [np.mean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]
    np.testing.assert_allclose(curve.smoothed(values, window), expected, atol=1e-9)
