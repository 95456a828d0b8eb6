"""SAM2 as a stream: the same masks as with the whole video in memory, and what a bad checkpoint says."""

import inspect
import pickle
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from relane.config.sections.sam2 import POINTS
from relane.errors import InputError
from relane.io.masks import coverage
from relane.road import sam2_video
from relane.road.segmentation import RoadSegmenter

LABELS = np.ones(len(POINTS), np.int32)


def drive(count: int, height: int = 90, width: int = 160) -> list[np.ndarray]:
    """A grey trapezoid with a dashed line that moves towards the camera, under a sky."""
    frames = []
    for index in range(count):
        frame = np.full((height, width, 3), (140, 180, 220), np.uint8)
        frame[height // 2 :] = (70, 120, 60)
        corners = np.array([[width * 0.45, height / 2], [width * 0.55, height / 2], [width, height], [0, height]])
        cv2.fillPoly(frame, [corners.astype(np.int32)], (90, 90, 92))
        for row in range(height // 2 + 3, height):
            if (index + row // 4) % 2:
                frame[row, width // 2 - 1 : width // 2 + 2] = 235
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def segmenter(tiny):
    return RoadSegmenter(tiny("sam2"), device="cpu")


def stream(predictor, frames):
    images = sam2_video.FrameStream(iter(frames), len(frames), predictor.image_size)
    state = sam2_video.new_state(predictor, images)
    sam2_video.prompt(predictor, state, np.array(POINTS, np.float32), LABELS)
    return state, sam2_video.propagate(predictor, state, torch.float32)


def test_streaming_gives_what_sam2_gives_with_the_whole_video_in_memory(segmenter, tmp_path):
    frames = []
    for index, frame in enumerate(drive(22)):  # more than the 16 frames that a frame may attend to
        Image.fromarray(frame).save(tmp_path / f"{index}.jpg")
        frames.append(np.asarray(Image.open(tmp_path / f"{index}.jpg")))
    predictor = segmenter.predictor
    state = predictor.init_state(str(tmp_path))
    points = np.array(POINTS, np.float32)
    predictor.add_new_points_or_box(state, 0, 1, points=points, labels=LABELS, normalize_coords=False)
    whole = [logits[0, 0] for _, _, logits in predictor.propagate_in_video(state)]
    ours = list(stream(predictor, frames)[1])
    assert len(ours) == len(whole) == 22
    assert all(map(torch.equal, ours, whole))


def test_a_frame_attends_to_what_is_kept_and_to_nothing_older(segmenter, monkeypatch):
    frames = drive(24)
    kept = list(stream(segmenter.predictor, frames)[1])
    monkeypatch.setattr(sam2_video, "forget", lambda *_: None)
    everything = list(stream(segmenter.predictor, frames)[1])
    assert all(map(torch.equal, kept, everything))


def bytes_held(value) -> int:
    if isinstance(value, torch.Tensor):
        return value.untyped_storage().nbytes()
    if isinstance(value, dict):
        return sum(bytes_held(v) + 64 for v in value.values())
    if isinstance(value, list | tuple):
        return sum(map(bytes_held, value))
    return 0


def test_the_state_does_not_grow_with_the_clip(segmenter):
    state, logits = stream(segmenter.predictor, drive(40))
    held = [bytes_held(state) for _ in logits]
    assert held[39] == held[20] > held[3]


def test_vos_class_gives_the_same_masks_as_the_plain_one(tiny, segmenter):
    vos = sam2_video.load_predictor(tiny("sam2"), vos_optimized=True)
    assert type(vos).__name__ == "SAM2VideoPredictorVOS"
    frames = drive(3)
    with torch.compiler.set_stance("force_eager"):  # its code path, without minutes of compilation
        optimized = list(stream(vos, frames)[1])
    assert all(map(torch.equal, optimized, stream(segmenter.predictor, frames)[1]))


def test_compiled_parts_are_tuned_without_cuda_graphs(tiny, monkeypatch):
    modes = []
    monkeypatch.setattr(torch, "compile", lambda module, mode=None, **_: modes.append(mode) or module)
    sam2_video.load_predictor(tiny("sam2"), vos_optimized=True)
    assert len(modes) > 3
    assert set(modes) == {"max-autotune-no-cudagraphs"}


def test_nothing_is_compiled_unless_asked():
    import segment_road

    assert inspect.signature(RoadSegmenter).parameters["vos_optimized"].default is False
    needed = ["--clip", "a.mp4", "--checkpoint", "sam2", "--output", "out"]
    assert segment_road.parser().parse_args(needed).vos_optimized is False
    defaults = yaml.safe_load((Path(__file__).parents[1] / "config/config.yaml").read_text())
    assert defaults["sam2"]["vos_optimized"] is False


def test_a_mask_of_nan_stops_the_clip(tiny):
    predictor = sam2_video.load_predictor(tiny("sam2"))
    predictor.memory_attention.norm.weight.data.fill_(float("nan"))  # frame 0 reads no memory
    _, logits = stream(predictor, drive(3))
    assert torch.isfinite(next(logits)).all()
    with pytest.raises(InputError, match=r"sam2: mask of frame 1: .* NaN or infinite"):
        next(logits)


def test_a_damaged_weight_is_named(tiny, tmp_path):
    folder = shutil.copytree(tiny("sam2"), tmp_path / "sam2")
    (path,) = folder.glob("*.safetensors")
    state = load_file(path)
    name = next(name for name in state if state[name].is_floating_point())
    state[name].view(-1)[0] = float("nan")
    save_file(state, path)
    with pytest.raises(InputError, match=f"tensor {re.escape(name)} holds NaN"):
        sam2_video.load_predictor(folder)


def test_predictor_is_set_up_as_sam2_does_it_but_for_its_optional_extension(tmp_path):
    from sam2.build_sam import build_sam2_video_predictor

    theirs = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    _, config = sam2_video._config(tmp_path, tmp_path / "sam2.1_hiera_tiny.pt")
    ours = sam2_video.build_predictor(config, vos_optimized=False)
    for part in ("", "sam_mask_decoder"):
        a, b = (vars(model.get_submodule(part)) for model in (ours, theirs))
        plain = {key for key, value in b.items() if isinstance(value, bool | int | float | str)}
        assert {key for key in plain if a[key] != b[key]} <= {"fill_hole_area", "training"}


def test_a_picture_is_masked_as_the_first_frame_of_a_clip(segmenter):
    frames = drive(3)
    masks = list(segmenter.video(iter(frames), POINTS, count=3))
    assert np.array_equal(segmenter.image(frames[0], POINTS, []), masks[0])
    assert masks[0].shape == (90, 160)
    assert masks[0].dtype == bool


def test_negative_points_reach_the_network(segmenter):
    frame = drive(1)[0]
    logits = []
    for negative in ([], [(0.5, 0.1)]):
        images = sam2_video.FrameStream(iter([frame]), 1, 256)
        state = sam2_video.new_state(segmenter.predictor, images)
        points = np.array([*POINTS, *negative], np.float32)
        labels = np.array([1] * len(POINTS) + [0] * len(negative), np.int32)
        logits.append(sam2_video.prompt(segmenter.predictor, state, points, labels))
    assert not torch.equal(*logits)


def test_a_clip_that_ends_early_is_an_error(segmenter):
    with pytest.raises(InputError, match="ends after 2 frames, but 5"):
        list(segmenter.video(iter(drive(2)), count=5))


def test_tiny_checkpoint_is_the_same_for_a_seed_and_finds_some_road(tiny, tmp_path, segmenter):
    from simworld.tiny import build

    again = build("sam2", tmp_path / "again")
    for name in ("config.yaml", "model.safetensors"):
        assert (again / name).read_bytes() == (tiny("sam2") / name).read_bytes()
    assert 0.01 < coverage(segmenter.image(drive(1)[0])) < 0.9


# Checkpoint folders


@pytest.fixture
def checkpoint(tiny, tmp_path):
    return shutil.copytree(tiny("sam2"), tmp_path / "checkpoint")


def refused(folder, says):
    with pytest.raises(InputError, match=says):
        RoadSegmenter(folder, device="cpu")


def test_bad_checkpoints_are_named(checkpoint, tmp_path):
    refused(tmp_path / "nowhere", "no such SAM2 checkpoint folder")
    weights, config = checkpoint / "model.safetensors", checkpoint / "config.yaml"
    text = config.read_text()
    config.unlink()
    refused(checkpoint, r"config\.yaml: no such file")
    config.write_text("no: model")
    refused(checkpoint, "not a SAM2 config")
    config.write_text(text.replace("embed_dim: 24", "embed_dim: 48").replace("96, 48, 24]", "96, 48, 48]"))
    refused(checkpoint, "sam2 cannot build|has shape")
    config.write_text(text)
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(checkpoint, "no readable SAM2 weights")
    weights.unlink()
    refused(checkpoint, "expected one weights file")


def test_weights_of_another_model_name_the_first_wrong_tensor(checkpoint):
    state = sam2_video.load_predictor(checkpoint).state_dict()
    (checkpoint / "model.safetensors").unlink()
    file = checkpoint / "model.pt"
    torch.save({"model": state}, file)
    RoadSegmenter(checkpoint, device="cpu")  # sam2's own form of weights
    torch.save({"model": {k: v for k, v in state.items() if k != "no_obj_ptr"}}, file)
    refused(checkpoint, "lacks tensor no_obj_ptr")
    torch.save({"model": state | {"more": torch.zeros(1)}}, file)
    refused(checkpoint, "unexpected tensor more")
    torch.save({"model": state | {"no_obj_ptr": torch.zeros(1, 3)}}, file)
    refused(checkpoint, r"no_obj_ptr has shape \(1, 3\)")


class Exploit:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def test_a_checkpoint_cannot_run_code(checkpoint, capsys):
    (checkpoint / "model.safetensors").rename(checkpoint.parent / "kept.safetensors")
    torch.save({"model": Exploit()}, checkpoint / "model.pt")
    refused(checkpoint, "no readable SAM2 weights")
    (checkpoint / "model.pt").write_bytes(pickle.dumps({"model": Exploit()}))
    refused(checkpoint, "no readable SAM2 weights")
    config = checkpoint / "config.yaml"
    config.write_text(config.read_text().replace("sam2.modeling.memory_encoder.CXBlock", "builtins.print"))
    refused(checkpoint, "'builtins.print' is not one of sam2's model classes")
    assert "ran" not in capsys.readouterr().out


def test_a_released_checkpoint_needs_no_config(checkpoint):
    (checkpoint / "config.yaml").unlink()
    path, model = sam2_video._config(checkpoint, checkpoint / "sam2.1_hiera_large.pt")
    assert path.name == "sam2.1_hiera_l.yaml"
    assert model.image_size == 1024


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_here_is_named(tiny, device):
    with pytest.raises(InputError, match=device):
        RoadSegmenter(tiny("sam2"), device=device)


def test_vos_is_asked_for_where_it_cannot_run(tiny):
    with pytest.raises(InputError, match="vos_optimized: true needs a CUDA device"):
        RoadSegmenter(tiny("sam2"), device="cpu", vos_optimized="true")
    with pytest.raises(InputError, match="expected auto, true or false"):
        RoadSegmenter(tiny("sam2"), device="cpu", vos_optimized="perhaps")
    assert RoadSegmenter(tiny("sam2"), device="cpu").backend == "SAM2VideoPredictor"
