"""The script end to end on the tiny checkpoints."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import edit_video
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from relane import noise
from relane.editors import run
from relane.errors import InputError
from relane.io import video
from relane.io.colour import Colour

FRAMES, HEIGHT, WIDTH = 21, 180, 320
BT709 = Colour(1, 1, 1)


def write_inputs(folder, masks: np.ndarray) -> np.ndarray:
    """A clip of moving stripes and what belongs to it; returns the clip's frames as they are decoded."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = [np.stack([x // 2, y, (x + y + 8 * t) % 256], axis=-1).astype(np.uint8) for t in range(FRAMES)]
    video.write_video(folder / "clip.mp4", frames, 10, colour=BT709)
    (folder / "clip.json").write_text(json.dumps({"video": "a.front", "fps": 10, "t_us": list(range(FRAMES))}))
    np.savez_compressed(folder / "region.npz", masks.astype(np.uint8))
    Image.fromarray(frames[0][:, ::-1]).save(folder / "first.png")
    (folder / "first.json").write_text(json.dumps({"caption": "road with double yellow solid lane markings"}))
    return video.read_frames(folder / "clip.mp4")


def trapezoid() -> np.ndarray:
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    masks[:, 110:160, 100:220] = True
    return masks


def arguments(folder, tiny, **extra: str) -> list[str]:
    flags = {
        "clip": folder / "clip.mp4",
        "clip-json": folder / "clip.json",
        "inpaint-masks": folder / "region.npz",
        "first-frame": folder / "first.png",
        "first-frame-json": folder / "first.json",
        "cogvideox": tiny("cogvideox"),
        "videopainter": tiny("videopainter"),
        "videopainter-id": "",
        "output": folder / "x_vp_edit_sample0.mp4",
        "generated": folder / "x_generated.mp4",
        "panels": folder / "x_panels.mp4",
        "sidecar": folder / "x_vp_edit_sample0.json",
        "text-cache": folder / "text",
        "num-inference-steps": "2",
        "stride": "16",
        "device": "cpu",
        "dtype": "float32",  # CPUs without bfloat16 arithmetic take minutes for its convolutions
    }
    flags |= {name.replace("_", "-"): value for name, value in extra.items()}
    return [f"--{name}={value}" for name, value in flags.items()]


@pytest.fixture
def written(monkeypatch) -> dict[str, np.ndarray]:
    """The frames that go to the encoder, by file name, as the script hands them over."""
    frames, write = {}, video.write_video

    def keep(path, source, fps, crf=18, colour=None):
        frames[Path(path).name] = stack = np.stack(list(source))
        return write(path, stack, fps, crf, colour)

    monkeypatch.setattr(run, "write_video", keep)
    return frames


def test_an_edit_changes_the_mask_alone_and_is_recorded(tmp_path, tiny, written):
    masks = trapezoid()
    source = write_inputs(tmp_path, masks)
    written.clear()
    edit_video.main(arguments(tmp_path, tiny, mask_feather="4", color_match="true"))

    result = written["x_vp_edit_sample0.mp4"]
    assert result.shape == source.shape
    far = np.ones((HEIGHT, WIDTH), bool)
    far[110 - 4 : 160 + 4, 100 - 4 : 220 + 4] = False
    np.testing.assert_array_equal(result[:, far], source[:, far])
    assert (result[:, 120:150, 110:210] != source[:, 120:150, 110:210]).mean() > 0.5
    assert written["x_generated.mp4"].shape == (FRAMES, 128, 192, 3)
    assert written["x_panels.mp4"].shape == (FRAMES, 128, 4 * 192, 3)
    np.testing.assert_array_equal(written["x_panels.mp4"][:, :, -192:], written["x_generated.mp4"])
    info = video.probe(tmp_path / "x_vp_edit_sample0.mp4")
    assert (info.width, info.height, info.frames, info.fps) == (WIDTH, HEIGHT, FRAMES, 10)
    made = ("x_vp_edit_sample0.mp4", "x_generated.mp4", "x_panels.mp4")
    assert [video.probe(tmp_path / name).colour for name in made] == [BT709] * 3  # as the clip's

    record = json.loads((tmp_path / "x_vp_edit_sample0.json").read_text())
    assert record["prompt"] == "road with double yellow solid lane markings"
    assert record["windows"] == {"length": 17, "starts": [0, 4], "frames": FRAMES}
    assert record["parameters"]["mask_feather"] == 4
    assert record["parameters"]["num_inference_steps"] == 2
    assert {"text", "encode", "denoise", "decode", "write"} <= record["seconds"].keys()
    assert record["gpu_peak_bytes"] == 0
    assert record["host_peak_bytes"] > 0
    assert record["t_us"] == list(range(FRAMES))
    assert set(record["inputs"]) == {"clip", "clip_json", "inpaint_masks", "first_frame", "first_frame_json"}


def test_a_long_clip_goes_through_in_windows_and_keeps_what_is_not_masked(tmp_path, tiny, monkeypatch, written):
    monkeypatch.setitem(globals(), "FRAMES", 63)
    masks = trapezoid()
    source = write_inputs(tmp_path, masks)
    written.clear()
    flags = {"num_inference_steps": "1", "guidance_scale": "1", "panels": "", "mask_feather": "4"}
    edit_video.main(arguments(tmp_path, tiny, **flags))
    result = written["x_vp_edit_sample0.mp4"]
    assert len(result) == 63
    near = np.zeros((HEIGHT, WIDTH), bool)
    near[110 - 4 : 160 + 4, 100 - 4 : 220 + 4] = True
    np.testing.assert_array_equal(result[:, ~near], source[:, ~near])
    assert (result[masks] != source[masks]).mean() > 0.5
    record = json.loads((tmp_path / "x_vp_edit_sample0.json").read_text())
    assert record["windows"]["starts"] == [0, 16, 32, 46]


def test_one_load_serves_many_items_and_gives_the_same_bytes(tmp_path, tiny):
    write_inputs(tmp_path, trapezoid())
    args = edit_video.parser().parse_args(arguments(tmp_path, tiny, panels=""))
    models = edit_video.load(args)
    outputs = [tmp_path / "x_vp_edit_sample0.mp4", tmp_path / "x_generated.mp4"]
    contents = []
    for _ in range(2):
        edit_video.run(args, models)
        contents.append([path.read_bytes() for path in outputs])
        for path in outputs:
            path.unlink()
    assert contents[0] == contents[1]
    assert not (tmp_path / "x_panels.mp4").exists()


def test_instructions_on_one_clip_share_and_no_byte_changes(tmp_path, tiny):
    write_inputs(tmp_path, trapezoid())
    outputs = [tmp_path / "x_vp_edit_sample0.mp4", tmp_path / "x_generated.mp4"]

    def edit(caption: str, **extra: str) -> tuple[list[bytes], dict]:
        (tmp_path / "first.json").write_text(json.dumps({"caption": caption}))
        Image.new("RGB", (WIDTH, HEIGHT), (len(caption), 90, 90)).save(tmp_path / "first.png")
        edit_video.main(arguments(tmp_path, tiny, panels="", **extra))
        record = json.loads((tmp_path / "x_vp_edit_sample0.json").read_text())
        return [path.read_bytes() for path in outputs], record["posteriors"]

    white, yellow = "road with single white dashed lane markings", "road with double yellow solid lane markings"
    kept = str(tmp_path / "posteriors")
    _, first = edit(white, posterior_cache=kept)
    shared, second = edit(yellow, posterior_cache=kept)
    alone, none = edit(yellow, posterior_cache=kept, share_posteriors="false", text_cache="")
    assert shared == alone
    assert (first, second, none) == ({"read": 0, "computed": 2}, {"read": 2, "computed": 0}, None)
    assert len(list((tmp_path / "text").iterdir())) == 3  # two captions, one negative prompt


def test_noise_depends_on_seed_and_clip_and_not_on_the_instruction(tmp_path, tiny, monkeypatch):
    write_inputs(tmp_path, trapezoid())
    models, keys, generator = None, [], noise.generator
    monkeypatch.setattr(noise, "generator", lambda *key: keys[-1].append(key) or generator(*key))
    for caption in ("road with single white dashed lane markings", "road with double yellow solid lane markings"):
        (tmp_path / "first.json").write_text(json.dumps({"caption": caption}))
        args = edit_video.parser().parse_args(arguments(tmp_path, tiny, panels="", num_inference_steps="1", seed="7"))
        models = models or edit_video.load(args)
        keys.append([])
        edit_video.run(args, models)
    assert keys[0] == keys[1]
    assert {key[:2] for key in keys[0]} == {(7, "a.front")}
    assert len(set(keys[0])) == len(keys[0])  # no draw is used twice


def test_exact_mode_runs_and_leaves_out_the_tail(tmp_path, tiny, written):
    write_inputs(tmp_path, trapezoid())
    edit_video.main(arguments(tmp_path, tiny, mode="exact", stride="17", fit="squash", prev_clip_weight="0.5"))
    assert len(written["x_vp_edit_sample0.mp4"]) == 17
    record = json.loads((tmp_path / "x_vp_edit_sample0.json").read_text())
    assert record["parameters"]["guidance"] == "original_dynamic"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("fewer masks", r"masks are \(frames, height, width\) \(20, 180, 320\)"),
        ("smaller masks", r"masks are \(frames, height, width\) \(21, 90, 160\)"),
        ("no mask", "no pixel of any frame is masked"),
        ("small first frame", "first frame is 160x90"),
        ("no caption", "no `caption`"),
        ("text as image", "no readable image"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(tmp_path, tiny, damage, message):
    masks = trapezoid()
    spoiled = {"fewer masks": masks[:-1], "smaller masks": masks[:, ::2, ::2], "no mask": masks & False}
    write_inputs(tmp_path, spoiled.get(damage, masks))
    if damage == "small first frame":
        Image.new("RGB", (160, 90)).save(tmp_path / "first.png")
    elif damage == "text as image":
        (tmp_path / "first.png").write_text("no image")
    elif damage == "no caption":
        (tmp_path / "first.json").write_text("{}")
    with pytest.raises(InputError, match=message):
        edit_video.main(arguments(tmp_path, tiny))
    assert not list(tmp_path.glob("x_*"))


def test_a_blank_checkpoint_is_named(tmp_path, tiny):
    with pytest.raises(InputError, match="--videopainter is blank"):
        edit_video.main(arguments(tmp_path, tiny, videopainter=""))


def test_a_short_clip_names_the_frames_needed(tmp_path, tiny, monkeypatch):
    monkeypatch.setitem(globals(), "FRAMES", 16)
    write_inputs(tmp_path, trapezoid())
    with pytest.raises(InputError, match=r"clip\.mp4: the clip has 16 frames; the video model needs at least 17"):
        edit_video.main(arguments(tmp_path, tiny))


def test_help_does_not_import_torch():
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import edit_video\n"
        "try: edit_video.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    root = Path(edit_video.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True)


def spoil(folder: Path, name: str, value: float) -> None:
    """Fill the first eighth of one tensor of a checkpoint."""
    path = folder / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors[name].view(-1)[: max(1, tensors[name].numel() // 8)] = value
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("transformer", "proj_out.bias", float("nan"), "transformer: tensor proj_out.bias holds NaN"),
        ("vae", "decoder.conv_out.conv.weight", 2.5e38, "tensor decoder.conv_out.conv.weight holds 2.5e"),
    ],
)
def test_what_is_not_finite_is_no_picture(tmp_path, tiny, part, name, value, message):
    write_inputs(tmp_path, trapezoid())
    folder = Path(shutil.copytree(tiny("cogvideox"), tmp_path / "cogvideox"))
    spoil(folder / part, name, value)
    with pytest.raises(InputError, match=message):
        edit_video.main(arguments(tmp_path, tiny, cogvideox=str(folder)))
    assert not list(tmp_path.glob("x_*"))


def test_frames_that_the_decoder_makes_nan_are_not_written(tmp_path, tiny):
    write_inputs(tmp_path, trapezoid())
    args = edit_video.parser().parse_args(arguments(tmp_path, tiny))
    models = edit_video.load(args)
    models.pipeline.vae.decoder.conv_out.conv.bias.data.fill_(float("nan"))
    with pytest.raises(InputError, match=rf"{tiny('cogvideox')}.*: painted frames: .* NaN or infinite"):
        edit_video.run(args, models)
    assert not list(tmp_path.glob("x_*"))


def test_latents_that_the_transformer_makes_infinite_are_not_decoded(tmp_path, tiny):
    write_inputs(tmp_path, trapezoid())
    args = edit_video.parser().parse_args(arguments(tmp_path, tiny, dtype="bfloat16"))
    models = edit_video.load(args)
    models.pipeline.transformer.proj_out.bias.data.fill_(float("inf"))
    with pytest.raises(InputError, match=r"painted latents of window 0: .*in bfloat16.*dtype: float32, fp8: false"):
        edit_video.run(args, models)
    assert not list(tmp_path.glob("x_*"))


def test_tiles_run_on_the_tiny_checkpoint(tmp_path, tiny):
    write_inputs(tmp_path, trapezoid())
    edit_video.main(arguments(tmp_path, tiny, vae_tiling="true"))
    assert video.probe(tmp_path / "x_generated.mp4").frames == FRAMES
