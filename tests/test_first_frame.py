"""The script around the critic loop, on tiny models: where they sit, what it writes, what it refuses."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import cv2
import first_frame
import numpy as np
import pytest
import torch

from relane.errors import InputError
from relane.io.video import read_frames, write_video
from relane.models import residency
from relane.models.residency import Slot, second_device
from relane.prompts import lanes
from relane.prompts.lanes import Attributes
from tests.test_critic import reply


class Weights:
    """Stands where a model stands: it knows its device and moves."""

    def __init__(self, device: str) -> None:
        self.device = device

    def to(self, device: str) -> None:
        self.device = device


@pytest.mark.parametrize(("free", "waits"), [(5, "cpu"), (50, "cuda:0")])
def test_models_on_one_gpu_take_turns_only_where_memory_is_short(monkeypatch, free: int, waits: str) -> None:
    monkeypatch.setattr(residency, "free_bytes", lambda device: free)
    editor = Slot(lambda: Weights("cuda:0"), "cuda:0", 10)
    critic_slot = Slot(lambda: Weights("cuda:0"), "cuda:0", 10)
    elsewhere = Slot(lambda: Weights("cuda:1"), "cuda:1", 10)
    painter, judge = editor.use(critic_slot), critic_slot.use(editor)
    assert (painter.device, judge.device) == (waits, "cuda:0")
    assert editor.use(critic_slot) is painter, "a parked model is moved back, not loaded again"
    assert (painter.device, judge.device) == ("cuda:0", waits)
    elsewhere.use(editor)
    assert painter.device == "cuda:0"
    critic_slot.drop()
    assert critic_slot.use(editor) is not judge


@pytest.mark.parametrize(
    ("gpus", "editor", "asked", "critic"),
    [
        (0, "cpu", "auto", "cpu"),
        (1, "cuda:0", "auto", "cuda:0"),
        (2, "cuda:0", "auto", "cuda:1"),
        (2, "cuda:1", "auto", "cuda:1"),
        (2, "cuda:0", "cuda:0", "cuda:0"),
        (2, "cpu", "auto", "cpu"),
        (2, "cuda:0", "all", "all"),
    ],
)
def test_the_critic_sits_on_a_second_gpu_where_there_is_one(monkeypatch, gpus, editor, asked, critic) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert second_device(asked, editor) == critic


@pytest.fixture
def item(tmp_path: Path, tiny: Callable[[str], Path]) -> Namespace:
    """The flags of a small job: a clip of two frames, a mask of their lower half, tiny checkpoints."""
    frames = np.random.default_rng(0).integers(60, 120, (2, 46, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "clip.mp4", frames, fps=10)
    masks = np.zeros((2, 46, 64), np.uint8)
    masks[0, 20:] = 255
    np.savez_compressed(tmp_path / "masks.npz", masks)
    flags = f"""--clip {tmp_path}/clip.mp4 --inpaint-masks {tmp_path}/masks.npz --video v.cam
        --flux-fill {tiny("flux_fill")} --qwen {tiny("qwen")} --num-inference-steps 2 --max-sequence-length 16
        --caption-refine-iters 2 --caption-max-tokens 8 --device cpu --dtype float32
        --output {tmp_path}/out/first.png --sidecar {tmp_path}/out/first.json --refine-folder {tmp_path}/out/refine"""
    return first_frame.parser().parse_args([*flags.split(), "--instruction", "lane double yellow solid"])


def run(item: Namespace, **changed: object) -> tuple[np.ndarray, dict]:
    args = Namespace(**{**vars(item), **changed})
    first_frame.run(args, first_frame.load(args))
    return cv2.imread(args.output)[..., ::-1], json.loads(Path(args.sidecar).read_text())


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The critic of a job gives this reply to every question."""
    monkeypatch.setattr("relane.models.qwen.Qwen.ask", lambda self, questions, **_: [text] * len(questions))


def test_the_script_paints_judges_and_keeps_every_try(item: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, reply("FAIL"))
    picture, record = run(item)
    frame = read_frames(item.clip)[0]
    assert np.array_equal(picture[:20], frame[:20])
    assert not np.array_equal(picture[20:], frame[20:])
    assert (record["passed"], record["best_of_failed"], record["chosen_try"]) == (False, True, 1)
    assert (record["iterations_asked"], record["iterations_used"], record["critic"]) == (2, 2, "on")
    assert record["caption"] == "road with double yellow solid lane markings"
    assert record["attributes"] == {"count": "double", "color": "yellow", "pattern": "solid"}
    assert [one["verdict"]["passed"] for one in record["tries"]] == [False] * 2
    assert {"paint", "judge", "load_editor", "load_critic", "total"} <= record["seconds"].keys()
    assert record["host_peak_bytes"] > 0
    folder = Path(item.refine_folder)
    parts = ("input.png", "output.png", "panels.png", "verdict.json")
    names = {f"try_{number:02d}_{part}" for number in (1, 2) for part in parts}
    assert {path.name for path in folder.iterdir()} == names | {"qwen_eval.json"}
    assert np.array_equal(cv2.imread(str(folder / "try_01_output.png"))[..., ::-1], picture)
    assert len(json.loads((folder / "qwen_eval.json").read_text())["tries"]) == 2


def test_a_painter_that_gives_no_numbers_leaves_nothing_behind(
    item: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import FluxTransformer2DModel

    plain = FluxTransformer2DModel.forward
    broken = lambda self, *args, **how: (plain(self, *args, **how)[0] * float("nan"),)  # noqa: E731
    monkeypatch.setattr(FluxTransformer2DModel, "forward", broken)
    with pytest.raises(InputError, match=r"latents after step 1.* nothing was written"):
        run(item, caption_refine_iters=0)
    assert not Path(item.output).parent.exists()


def test_the_sidecar_says_at_which_size_was_painted(item: Namespace) -> None:
    _, record = run(item, caption_refine_iters=0)
    assert (record["painted_at"], record["warning"], record["lora_left_out"]) == ("48x64", None, [])


def test_the_same_job_paints_the_same_picture_and_seed_clip_or_instruction_another(item: Namespace) -> None:
    first, _ = run(item, caption_refine_iters=0)
    assert np.array_equal(run(item, caption_refine_iters=0, qwen="")[0], first)
    for changed in ({"seed": 43}, {"video": "w.cam"}, {"instruction": "lane double yellow dashed"}):
        assert not np.array_equal(run(item, caption_refine_iters=0, **changed)[0], first)


def test_with_the_critic_off_the_sidecar_claims_nothing(item: Namespace) -> None:
    _, record = run(item, caption_refine_iters=0)
    keys = ("passed", "best_of_failed", "iterations_used", "verdict", "critic")
    assert [record[key] for key in keys] == [None, False, 0, None, "off"]


def test_a_sham_asks_for_what_qwen_reads_off_the_source(item: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, '{"count": "unknown", "color": "unknown", "pattern": "unknown", "verdict": "FAIL"}')
    _, record = run(item, instruction="sham")
    assert record["instruction"].startswith("Repaint the lane markings as they are")
    asked_once = ("sham", 1, "repaint the lane markings as they are")
    assert (record["arm"], record["read"]["asked"], record["caption"]) == asked_once
    answer(monkeypatch, '{"count": "single", "color": "white", "pattern": "dashed", "verdict": "FAIL"}')
    _, record = run(item, instruction="sham")
    assert record["caption"] == "road with single white dashed lane markings"
    assert lanes.parse_instruction(record["instruction"]) == Attributes("single", "white", "dashed")
    _, record = run(item, instruction="sham", qwen="", caption_refine_iters=0)
    assert (record["read"], record["attributes"]["count"]) == (None, "unknown")


@pytest.mark.parametrize("instruction", ["sham", "lane double yellow solid"])
def test_random_words_of_a_real_model_judge_nothing(item: Namespace, instruction: str) -> None:
    with pytest.raises(InputError, match=r"qwen: none of its replies .*check the checkpoint"):
        run(item, instruction=instruction)
    assert not Path(item.output).parent.exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"instruction": "make it snow"}, "asks for nothing paintable"),
        ({"instruction": "lane double blue solid"}, "unknown color 'blue'"),
        ({"qwen": ""}, r"checkpoints\.qwen is blank"),
        ({"strength": 0.1}, "leaves no step to do"),
        ({"caption_refine_iters": -1}, r"first_frame\.caption_refine_iters: -1 should be greater than or equal to 0"),
        ({"max_sequence_length": 1000}, r"first_frame\.max_sequence_length: 1000 should be less than or equal to 512"),
        ({"paint_size": "big"}, "should be HEIGHTxWIDTH, multiples of 16"),
        ({"paint_size": "100x160"}, "multiples of 16"),
        ({"paint_size": "0x0"}, "multiples of 16"),
        ({"inpaint_masks": "other.npz"}, r"other\.npz: no such file"),
        ({"inpaint_masks": "small.npz"}, "do not fit"),
        ({"inpaint_masks": "empty.npz"}, "nothing to repaint"),
        ({"inpaint_masks": "named.npz"}, "no array arr_0"),
        ({"inpaint_masks": "clip.mp4"}, "not an NPZ file"),
        ({"qwen": "nowhere"}, "nowhere: no such folder"),
        ({"flux_fill": "nowhere"}, "nowhere: no such folder"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing_behind(item: Namespace, changed: dict, message: str) -> None:
    folder = Path(item.clip).parent
    np.savez(folder / "small.npz", np.ones((2, 40, 64), np.uint8))
    np.savez(folder / "empty.npz", np.zeros((2, 46, 64), np.uint8))
    np.savez(folder / "named.npz", masks=np.ones((2, 46, 64), np.uint8))
    changed = {key: str(folder / value) if "masks" in key else value for key, value in changed.items()}
    with pytest.raises(InputError, match=message):
        run(item, **changed)
    assert not Path(item.output).parent.exists()
