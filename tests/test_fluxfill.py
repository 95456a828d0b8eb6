"""First frames: what the painter may change, what it sees, what its noise depends on, which LoRA it takes."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from relane import noise
from relane.errors import InputError
from relane.io.compose import feather
from relane.io.files import write_json
from relane.models import flux_fill as flux_fill_model
from relane.models.flux_fill import MOST_TOKENS, FluxFill, hole_of, last_sigma, paint_region
from simworld.tiny import build
from simworld.tiny.flux_fill import transformer

FRAME = np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)
MASK = np.zeros((45, 70), bool)
MASK[20:45, 10:60] = True
QUICK = {"num_inference_steps": 2, "max_sequence_length": 16}
PROMPT = "road with single white solid lane markings"


def rng(*key: object) -> Callable[..., torch.Generator]:
    """The draws of one try."""
    return functools.partial(noise.generator, key)


@pytest.fixture(scope="module")
def flux(tiny: Callable[[str], Path]) -> FluxFill:
    return FluxFill(tiny("flux_fill"))


@pytest.mark.parametrize(("height", "width"), [(None, None), (32, 48)])
def test_outside_the_mask_every_pixel_stays_and_inside_the_prompt_paints(flux: FluxFill, height, width) -> None:
    painted = flux.paint(FRAME, MASK, PROMPT, rng("a"), height=height, width=width, **QUICK)
    assert painted.shape == FRAME.shape
    assert painted.dtype == np.uint8
    assert np.array_equal(painted[~MASK], FRAME[~MASK])
    assert (painted[MASK] != FRAME[MASK]).mean() > 0.9
    other = flux.paint(FRAME, MASK, "double yellow dashed lines", rng("a"), height=height, width=width, **QUICK)
    assert not np.array_equal(painted, other)


def test_the_same_key_paints_the_same_bytes_and_another_key_others(flux: FluxFill) -> None:
    first = flux.paint(FRAME, MASK, PROMPT, rng(42, "clip", 1), **QUICK)
    torch.manual_seed(5)
    assert np.array_equal(flux.paint(FRAME, MASK, PROMPT, rng(42, "clip", 1), **QUICK), first)
    assert not np.array_equal(flux.paint(FRAME, MASK, PROMPT, rng(42, "clip", 2), **QUICK), first)


def test_a_hole_hides_the_old_road_and_kept_pixels_show_it(flux: FluxFill) -> None:
    repainted = FRAME.copy()
    repainted[MASK] = 255 - repainted[MASK]

    def paint(frame: np.ndarray, keep: bool, strength: float = 1.0) -> np.ndarray:
        settings = {"keep_masked_pixels": keep, "strength": strength, "mask_feather": 0, **QUICK}
        return flux.paint(frame, MASK, PROMPT, rng("a"), **settings)

    assert np.array_equal(paint(FRAME, keep=False), paint(repainted, keep=False))
    assert not np.array_equal(paint(FRAME, keep=True)[MASK], paint(repainted, keep=True)[MASK])
    assert not np.array_equal(paint(FRAME, keep=True), paint(FRAME, keep=False))
    # Half strength starts from the old pixels, whatever the model sees beside them.
    assert not np.array_equal(paint(FRAME, keep=False, strength=0.5), paint(repainted, keep=False, strength=0.5))


@given(
    shape=st.tuples(st.integers(20, 90), st.integers(20, 160)),
    corner=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
    extent=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)),
    size=st.sampled_from([None, (32, 48), (48, 32), (16, 160)]),
)
@settings(max_examples=60, deadline=None)
def test_a_window_holds_the_whole_mask_in_the_shape_asked_for(shape, corner, extent, size) -> None:
    mask = np.zeros(shape, bool)
    top, left = int(corner[0] * shape[0]), int(corner[1] * shape[1])
    mask[top : top + 1 + int(extent[0] * shape[0]), left : left + 1 + int(extent[1] * shape[1])] = True
    region = paint_region(mask, size)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert region.top <= rows[0]
    assert rows[-1] < region.top + region.height
    assert region.left <= columns[0]
    assert columns[-1] < region.left + region.width
    assert region.model_height % 16 == region.model_width % 16 == 0
    assert abs(region.width * region.model_height - region.height * region.model_width) <= 1 + max(
        region.model_height, region.model_width
    )
    frame = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    part = region.to_model(frame)
    assert part.shape == (region.model_height, region.model_width, 3)
    assert hole_of(region, mask).any()
    back = region.to_source(part, frame)
    assert back.shape == frame.shape
    if size is None:
        assert np.array_equal(back, frame)


def test_feathering_stays_inside_the_mask_and_reaches_one() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:, 20:40] = True
    weight = feather(mask, 4, inward=True)
    assert (weight[~mask] == 0).all()
    assert (weight[mask] > 0).all()
    assert weight[40, 25] == 1.0
    assert np.allclose(weight[40, 20:25], [0.2, 0.4, 0.6, 0.8, 1.0])
    assert weight[59, 30] == 1.0, "the edge of the picture is no edge of the mask"
    assert np.array_equal(feather(mask, 0, inward=True), mask)
    assert (feather(np.ones((9, 9), bool), 4, inward=True) == 1).all()


def test_bad_sizes_are_refused(flux: FluxFill) -> None:
    with pytest.raises(InputError, match="paint size 30x48"):
        flux.paint(FRAME, MASK, PROMPT, rng("a"), height=30, width=48)
    with pytest.raises(InputError, match="the mask is 70x44, the frame 70x45"):
        flux.paint(FRAME, MASK[1:], PROMPT, rng("a"))
    with pytest.raises(InputError, match="empty"):
        paint_region(np.zeros((20, 20), bool), (16, 16))


sides = st.integers(16, 4400)


@given(sides, sides)
@settings(max_examples=200)
def test_a_frame_is_painted_at_its_own_size_up_to_a_megapixel_and_a_larger_one_at_about_that(height, width) -> None:
    region = paint_region(np.broadcast_to(np.bool_(True), (height, width)))
    tokens = region.model_height * region.model_width / 256
    assert region.model_height % 16 == region.model_width % 16 == 0
    filled = -(-height // 16) * -(-width // 16)
    if filled <= MOST_TOKENS:
        assert (region.height, region.width) == (region.model_height, region.model_width)
        assert tokens == filled
        return
    narrow = min(height, width) / max(height, width) < 0.05  # 16 pixels are much of so narrow a picture
    assert narrow or 0.9 * MOST_TOKENS < tokens < 1.1 * MOST_TOKENS
    assert region.top == region.left == 0
    assert region.height >= height
    assert region.width >= width
    # One scale for both sides, up to the pixel to which the box is rounded up.
    assert (
        abs(region.width * region.model_height - region.height * region.model_width)
        <= region.model_height + region.model_width
    )


@pytest.mark.parametrize(
    ("frame", "painted"),
    [((480, 720), (480, 720)), ((720, 1280), (720, 1280)), ((1080, 1920), (768, 1360)), ((2160, 3840), (768, 1360))],
)
def test_common_sizes(frame: tuple[int, int], painted: tuple[int, int]) -> None:
    region = paint_region(np.ones(frame, bool))
    assert (region.model_height, region.model_width) == painted


# FLUX.1-Fill-dev's own schedule.
SCHEDULE = FlowMatchEulerDiscreteScheduler(
    base_image_seq_len=256, max_image_seq_len=4096, base_shift=0.5, max_shift=1.15, shift=3.0, use_dynamic_shifting=True
)


@pytest.mark.parametrize(
    ("height", "width", "sigma"), [(720, 1280, 0.056), (1088, 1920, 0.114), (1440, 2560, 0.269), (2160, 3840, 0.886)]
)
def test_the_schedule_leaves_noise_in_large_pictures(height: int, width: int, sigma: float) -> None:
    assert last_sigma(SCHEDULE, height, width, 50) == pytest.approx(sigma, abs=0.002)


@given(sides, sides)
@settings(max_examples=40)
def test_at_the_size_that_is_painted_the_last_step_leaves_little(height: int, width: int) -> None:
    region = paint_region(np.broadcast_to(np.bool_(True), (height, width)))
    narrow = min(height, width) / max(height, width) < 0.05
    assert narrow or last_sigma(SCHEDULE, region.model_height, region.model_width, 50) < 0.07


def test_the_last_sigma_is_what_the_pipeline_s_own_loop_comes_to(flux: FluxFill) -> None:
    flux.paint(FRAME, MASK, PROMPT, rng("a"), height=32, width=48, **QUICK)
    assert float(flux.pipe.scheduler.sigmas[-2]) == pytest.approx(last_sigma(flux.pipe.scheduler, 32, 48, 2), rel=1e-6)


def test_who_asks_for_more_than_two_megapixels_is_told_what_noise_is_left(flux: FluxFill) -> None:
    assert flux.warning(1024, 1920, 50) == ""
    assert "1088x1920 is above two megapixels" in flux.warning(1088, 1920, 50)
    assert "2160x3840 is above two megapixels: the last of 50 steps starts at sigma 0." in flux.warning(2160, 3840, 50)


def test_a_large_frame_keeps_every_pixel_outside_the_mask(flux: FluxFill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flux_fill_model, "MOST_TOKENS", 6)
    painted = flux.paint(FRAME, MASK, PROMPT, rng("a"), **QUICK)
    assert flux.describe(MASK)["painted_at"] == "32x48"
    assert painted.shape == FRAME.shape
    assert np.array_equal(painted[~MASK], FRAME[~MASK])
    assert (painted[MASK] != FRAME[MASK]).mean() > 0.9


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("transformer.proj_out", "latents after step 1"),
        ("vae.decoder.conv_out", "painted picture"),
        ("vae.encoder.conv_out", "latents after step 1"),
        ("text_encoder_2.encoder.final_layer_norm", "latents after step 1"),
    ],
)
def test_numbers_that_are_none_are_no_picture(tiny: Callable[[str], Path], value: float, part: str, what: str) -> None:
    flux = FluxFill(tiny("flux_fill"))
    with torch.no_grad():
        name, _, layer = part.partition(".")
        getattr(flux.pipe, name).get_submodule(layer).weight.view(-1)[0] = value
    with pytest.raises(InputError, match=rf"flux_fill: {what}.*NaN or infinite \(computed in float32\).*first_frame"):
        flux.paint(FRAME, MASK, PROMPT, rng("a"), **QUICK)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "text_encoder_2"])
def test_damaged_weights_are_refused_at_loading(tiny: Callable[[str], Path], tmp_path: Path, part: str) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(tiny("flux_fill"), folder)
    [file] = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    max(tensors.values(), key=torch.numel).view(-1)[5] = float("nan")
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(InputError, match=f"flux/{part}: tensor .* the file is damaged"):
        FluxFill(folder)


def write_lora(folder: Path, heads: int = 2, alpha: float = 4.0, peft: bool = False) -> Path:
    """A rank-4 LoRA of random tensors on the query projections of a tiny transformer with `heads` heads."""
    model = transformer(heads=heads)
    model.add_adapter(LoraConfig(r=4, lora_alpha=alpha, init_lora_weights=False, target_modules=["to_q"]))
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=generator)
        for name, tensor in sorted(get_peft_model_state_dict(model).items())
    }
    folder.mkdir()
    if peft:
        file = folder / "adapter_model.safetensors"
        save_file({f"base_model.model.{name}": tensor for name, tensor in state.items()}, file)
        write_json(folder / "adapter_config.json", {"r": 4, "lora_alpha": alpha})
    else:
        file = folder / "pytorch_lora_weights.safetensors"
        save_file({f"transformer.{name}": tensor for name, tensor in state.items()}, file, {"format": "pt"})
    return file


def test_a_lora_changes_the_painting_by_its_scale(tiny: Callable[[str], Path], flux: FluxFill, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "lora")

    def paint(model: FluxFill) -> np.ndarray:
        return model.paint(FRAME, MASK, PROMPT, rng("a"), **QUICK)

    folder, plain = tiny("flux_fill"), paint(flux)
    assert np.array_equal(paint(FluxFill(folder, file, lora_scale=0.0)), plain)
    full, half = paint(FluxFill(folder, file.parent, lora_scale=1.0)), paint(FluxFill(folder, file, lora_scale=0.5))
    assert not np.array_equal(full, plain)
    assert not np.array_equal(full, half)
    # A PEFT checkpoint with alpha half its rank is the same as the plain file at scale 0.5.
    peft = write_lora(tmp_path / "peft", alpha=2.0, peft=True)
    assert np.array_equal(paint(FluxFill(folder, peft.parent, lora_scale=1.0)), half)


def test_a_lora_that_does_not_fit_is_refused_with_both_widths(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tiny("flux_fill")
    wide = write_lora(tmp_path / "wide", heads=3)
    with pytest.raises(InputError, match="for a transformer of width 96, this one has width 64"):
        FluxFill(folder, wide, lora_scale=1.0)
    with pytest.raises(InputError, match="no LoRA here"):
        FluxFill(folder, tmp_path, lora_scale=1.0)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match="not a readable LoRA"):
        FluxFill(folder, tmp_path / "text.safetensors", lora_scale=1.0)
    save_file({"unet.conv.lora_A.weight": torch.zeros(4, 64)}, tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match="belongs to no layer"):
        FluxFill(folder, tmp_path / "unet.safetensors", lora_scale=1.0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda folder: (folder / "model_index.json").unlink(), r"model_index\.json: no such file"),
        (lambda folder: write_json(folder / "model_index.json", {"_class_name": "FluxPipeline"}), "'FluxPipeline'"),
        (lambda folder: shutil.rmtree(folder / "text_encoder_2"), "text_encoder_2 lacks"),
        (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer lacks its vocabulary"),
        (
            lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut"),
            "does not load as FluxFillPipeline",
        ),
    ],
)
def test_a_folder_that_is_no_whole_pipeline_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "flux"
    shutil.copytree(tiny("flux_fill"), folder)
    damage(folder)
    with pytest.raises(InputError, match=message) as raised:
        FluxFill(folder)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize("name", ["flux_fill", "qwen", "clip"])
def test_a_tiny_checkpoint_is_small_and_its_seed_decides_every_byte(
    tiny: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    first = content(tiny(name))
    torch.manual_seed(9)
    state = torch.get_rng_state()
    assert content(build(name, tmp_path / "again")) == first
    assert content(build(name, tmp_path / "other", seed=1)) != first
    assert torch.equal(torch.get_rng_state(), state), "building leaves the global generator alone"
    assert sum(map(len, first.values())) < 4e6


def test_the_tiny_clip_tells_pictures_and_prompts_apart(tiny: Callable[[str], Path]) -> None:
    from transformers import CLIPModel, CLIPProcessor

    processor = CLIPProcessor.from_pretrained(tiny("clip"), local_files_only=True)
    model = CLIPModel.from_pretrained(tiny("clip"), local_files_only=True)
    inputs = processor(text=[PROMPT, "a car"], images=[FRAME, 255 - FRAME], return_tensors="pt", padding=True)
    with torch.inference_mode():
        logits = model(**inputs).logits_per_image
    assert logits.shape == (2, 2)
    assert len(set(logits.flatten().tolist())) == 4
