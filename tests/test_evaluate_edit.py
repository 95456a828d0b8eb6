"""Evaluating an edit: figures, the label, what is absent and why, both output files, and bad input."""

import json
import shutil
from pathlib import Path

import evaluate_edit
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from relane.errors import InputError
from relane.evaluation import quality
from relane.io.video import write_video

T, H, W = 4, 64, 96


def road(count: int = T) -> np.ndarray:
    """A moving grey road with a light stripe, (count, H, W, 3) uint8."""
    frames = np.full((count, H, W, 3), 90, np.uint8)
    for i in range(count):
        frames[i, 32:, 40 + i : 46 + i] = 200
    return frames


def masks(count: int = T) -> np.ndarray:
    mask = np.zeros((count, H, W), np.uint8)
    mask[:, 32:, 30:60] = 1
    return mask


class Case:
    """Files of one evaluation and the command that runs it."""

    def __init__(self, folder: Path, source: np.ndarray, edited: np.ndarray, mask: np.ndarray):
        self.folder = folder
        write_video(folder / "a.front.mp4", source, 10, crf=0)
        write_video(folder / "edit.mp4", edited, 10, crf=0)
        np.savez_compressed(folder / "masks.npz", mask)

    def run(self, *flags: str, prompt: str = "one solid yellow line") -> dict:
        words = {"clip": "a.front.mp4", "edited": "edit.mp4", "inpaint-masks": "masks.npz", "text": "eval.txt"}
        argv = [word for flag, name in words.items() for word in (f"--{flag}", str(self.folder / name))]
        argv += ["--json", str(self.folder / "eval.json"), "--prompt", prompt, "--device", "cpu", *flags]
        evaluate_edit.main(argv)
        return json.loads((self.folder / "eval.json").read_text())

    @property
    def text(self) -> str:
        return (self.folder / "eval.txt").read_text()


def test_an_unchanged_video_scores_perfectly_and_json_can_say_so(tmp_path: Path):
    case = Case(tmp_path, road(), road(), masks())
    result = case.run()
    for region in quality.REGIONS:
        assert result[region]["psnr"] == 100.0
        assert result[region]["ssim"] == pytest.approx(1.0)
        assert result[region]["mse"] == result[region]["mae"] == 0.0
    assert result["identical_frames"] == result["frames"] == T
    assert result["seam"]["added"] == result["flicker"]["full_frame"]["added"] == 0.0
    assert (result["label"], result["label_points"]) == ("EXCELLENT", 2)
    assert "4 frames equal the source's" in case.text


def test_the_label_stands_under_closeness_to_the_source_with_what_it_rewards(tmp_path: Path):
    case = Case(tmp_path, road(1), road(1), masks(1))
    result = case.run()
    before, _, after = case.text.partition("Closeness to the source\n")
    assert "EXCELLENT" not in before
    assert after.startswith("Label: EXCELLENT")
    assert "nothing was changed scores best" in after
    assert "scores best" in result["label_says"]


def test_an_edit_inside_the_mask_leaves_the_background_untouched(tmp_path: Path):
    edited = road()
    edited[masks() > 0] = (np.array([60, 60, 60]) + edited[masks() > 0] // 2).astype(np.uint8)
    # The codec is lossless on yuv420p; even mask edges keep chroma from leaking over them.
    result = Case(tmp_path, road(), edited, masks()).run()
    assert result["background"]["psnr"] > 50
    assert result["background"]["ssim"] > 0.999
    assert result["masked_region"]["psnr"] < 30
    assert result["full_frame"]["mse"] == pytest.approx(
        result["masked_region"]["mse"] * result["mask_coverage"], rel=0.02
    )
    assert result["seam"]["added"] > 5


def test_metrics_without_weights_are_absent_with_the_reason_and_never_a_number(tmp_path: Path):
    case = Case(tmp_path, road(), road(), masks())
    result = case.run()
    absent = [
        f"{region}.{name}"
        for region, names in (
            ("full_frame", ("lpips", "temporal_consistency", "temporal_consistency_source", "clip_score")),
            ("masked_region", ("lpips", "temporal_consistency", "temporal_consistency_source", "clip_score")),
            ("background", ("lpips",)),
        )
        for name in names
    ]
    assert sorted(result["absent"]) == sorted(absent)
    for key in absent:
        region, name = key.split(".")
        assert result[region][name] is None
    assert "checkpoints.lpips is empty" in result["absent"]["full_frame.lpips"]
    assert "absent: full_frame.lpips: " in case.text


def test_a_region_that_no_frame_has_is_absent_too(tmp_path: Path):
    result = Case(tmp_path, road(), road(), np.zeros((T, H, W), np.uint8)).run()
    assert result["masked_frames"] == 0
    assert result["masked_region"]["psnr"] is None
    assert "no frame" in result["absent"]["masked_region.psnr"]
    assert result["seam"]["added"] is None
    assert result["background"]["psnr"] == 100.0


def test_frames_without_a_mask_do_not_count_for_the_masked_region(tmp_path: Path):
    edited, mask = road(), masks()
    mask[0] = 0
    edited[0] = 0  # far off, but only in the frame that has no mask
    result = Case(tmp_path, road(), edited, mask).run()
    assert result["masked_frames"] == T - 1
    assert result["masked_region"]["psnr"] == 100.0
    assert result["full_frame"]["psnr"] < 100.0


def test_clip_score_and_temporal_consistency_come_from_the_folders_named(tmp_path: Path, tiny):
    case, folder = Case(tmp_path, road(), road(), masks()), str(tiny("clip"))
    result = case.run("--clip-score-model", folder, "--clip-temporal-model", folder)
    assert 0 <= result["full_frame"]["clip_score"] <= 100
    assert result["full_frame"]["temporal_consistency"] == result["full_frame"]["temporal_consistency_source"]
    assert 0.5 < result["masked_region"]["temporal_consistency"] < 1.0
    assert result["networks"] == {"clip_score": "clip", "temporal_consistency": "clip"}
    assert set(result["absent"]) == {f"{region}.lpips" for region in quality.REGIONS}


def test_the_clip_score_is_a_hundred_times_the_cosine_of_the_models_own_embeddings(tmp_path: Path, tiny):
    """Against transformers' own processor and CLIPModel.forward, which give the cosine times the logit scale."""
    from PIL import Image
    from transformers import CLIPModel, CLIPProcessor

    frame = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    model = CLIPModel.from_pretrained(tiny("clip"), local_files_only=True).eval()
    processor = CLIPProcessor.from_pretrained(tiny("clip"), local_files_only=True)
    inputs = processor(text=["a dashed line"], images=[Image.fromarray(frame)], return_tensors="pt")
    with torch.inference_mode():
        cosine = float(model(**inputs).logits_per_image / model.logit_scale.exp())
    clip = quality.Clip(tiny("clip"), "cpu", torch.float32)
    image = torch.from_numpy(frame).permute(2, 0, 1).float() / 255
    assert float((clip.image(image, squash=False) * clip.text("a dashed line")).sum()) == pytest.approx(
        cosine, abs=1e-5
    )
    comparison = quality.Comparison(quality.Networks(clip_score=clip), "a dashed line")
    comparison.add(frame, frame, masks()[0] > 0)
    assert comparison.result()["full_frame"]["clip_score"] == pytest.approx(100 * max(cosine, 0), abs=1e-3)


def test_a_prompt_longer_than_the_model_takes_is_cut(tiny):
    clip = quality.Clip(tiny("clip"), "cpu", torch.float32)
    assert clip.text("line " * 500).shape == (1, clip.model.config.projection_dim)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random SqueezeNet 1.1 under torchvision's file name."""
    import torchvision

    folder = tmp_path_factory.mktemp("lpips")
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    return folder


def test_lpips_runs_on_the_backbone_of_the_folder(backbone: Path):
    """Layer by layer against the formula of Zhang et al. 2018, on torchvision's own network with the same weights."""
    import torchvision

    model, name = quality.load_lpips(backbone, "cpu")
    assert name == "squeeze"
    network = torchvision.models.squeezenet1_1()
    network.load_state_dict(torch.load(backbone / "squeezenet1_1-b8a52dc0.pth", weights_only=True))
    a, b = torch.rand(2, 1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x, y = (a - mean) / std, (b - mean) / std
    expected, taps = 0.0, {1: 0, 4: 1, 7: 2, 9: 3, 10: 4, 11: 5, 12: 6}
    with torch.inference_mode():
        for number, layer in enumerate(network.features):
            x, y = layer(x), layer(y)
            if number in taps:
                unit = [f / f.square().sum(1, keepdim=True).add(1e-10).sqrt() for f in (x, y)]
                head = model.lins[taps[number]].model[1].weight
                expected += float(torch.nn.functional.conv2d((unit[0] - unit[1]) ** 2, head).mean())
            if number == 12:
                break
        assert float(model(a, b, normalize=True)) == pytest.approx(expected, rel=2e-3)


def test_lpips_of_equal_regions_is_zero_and_earns_a_point(tmp_path: Path, backbone: Path):
    edited = road(1)
    edited[masks(1) > 0] = 255 - edited[masks(1) > 0]
    case = Case(tmp_path, road(1), edited, masks(1))
    result = case.run("--lpips-weights", str(backbone))
    assert result["masked_region"]["lpips"] > 10 * result["background"]["lpips"]
    assert result["networks"]["lpips"] == "squeeze"
    same = Case(tmp_path, road(1), road(1), masks(1)).run("--lpips-weights", str(backbone))
    assert [same[region]["lpips"] for region in quality.REGIONS] == [0.0, 0.0, 0.0]
    assert (same["label"], same["label_points"]) == ("EXCELLENT", 3)


@pytest.mark.parametrize(
    ("figures", "points", "label"),
    [
        ({"psnr": 41.0, "ssim": 0.96, "lpips": 0.05}, 3, "EXCELLENT"),
        ({"psnr": 40.0, "ssim": 0.96, "lpips": 0.05}, 2, "EXCELLENT"),
        ({"psnr": 41.0, "ssim": 0.95, "lpips": 0.1}, 1, "GOOD"),
        ({"psnr": 30.0, "ssim": 0.9, "lpips": 0.2}, 0, "MODERATE"),
        ({"psnr": 41.0, "ssim": 0.96, "lpips": None}, 2, "EXCELLENT"),
        ({"psnr": 30.0, "ssim": 0.96, "lpips": None}, 1, "GOOD"),
    ],
)
def test_the_label_counts_points_and_an_absent_metric_earns_none(figures: dict, points: int, label: str):
    assert quality.rate(figures) == (points, label)


@pytest.mark.parametrize("count", [T - 1, T + 1])
def test_videos_of_unequal_length_are_compared_as_far_as_both_go_and_both_lengths_are_said(tmp_path: Path, count: int):
    """Exact mode leaves out a clip's tail, as the original does."""
    case = Case(tmp_path, road(), road(count), masks())
    result, common = case.run(), min(T, count)
    assert (result["frames"], result["clip_frames"], result["edited_frames"]) == (common, T, count)
    assert result["identical_frames"] == common
    assert f"{T} of the clip, {count} of the edit" in case.text


def test_an_embedding_that_is_not_finite_is_no_score(tmp_path: Path, tiny):
    case = Case(tmp_path, road(), road(), masks())
    model = shutil.copytree(tiny("clip"), tmp_path / "clip")
    tensors = load_file(model / "model.safetensors")
    tensors["visual_projection.weight"][0] = float("nan")
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"clip: CLIP embedding: .* NaN or infinite"):
        case.run("--clip-temporal-model", str(model))
    assert not (tmp_path / "eval.json").exists()


def test_the_prompt_may_come_from_the_first_frames_record(tmp_path: Path):
    record = tmp_path / "first.json"
    record.write_text(json.dumps({"caption": "a double line", "instruction": "x"}))
    case = Case(tmp_path, road(), road(), masks())
    assert case.run("--first-frame-json", str(record), prompt="")["prompt"] == "a double line"
    record.write_text("{}")
    with pytest.raises(InputError, match=r"first\.json: no text"):
        case.run("--first-frame-json", str(record), prompt="")


def test_the_same_videos_give_the_same_report(tmp_path: Path):
    case = Case(tmp_path, road(), road()[::-1], masks())
    drop = ("seconds", "host_peak_bytes")
    first, text = case.run(), case.text
    second = case.run()
    assert {k: v for k, v in first.items() if k not in drop} == {k: v for k, v in second.items() if k not in drop}
    assert case.text == text


@pytest.mark.parametrize(
    ("edited", "mask", "words"),
    [
        (road()[:, :, :-2], masks(), "differ in size: 94x64 and 96x64"),
        (road(), masks(T - 1), r"masks\.npz: masks of 3 frames of 96x64, but the clip has 4 frames of 96x64"),
        (road(), masks()[:, :-2], r"masks\.npz"),
    ],
)
def test_videos_and_masks_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path: Path, edited: np.ndarray, mask: np.ndarray, words: str
):
    case = Case(tmp_path, road(), edited, mask)
    with pytest.raises(InputError, match=words):
        case.run()
    assert not (tmp_path / "eval.json").exists()
    assert not (tmp_path / "eval.txt").exists()


def test_a_weights_folder_that_is_not_there_leaves_its_metric_absent_with_the_way_to_get_it(tmp_path: Path):
    case, none = Case(tmp_path, road(1), road(1), masks(1)), str(tmp_path / "none")
    flags = ("--clip-score-model", "--clip-temporal-model", "--lpips-weights")
    result = case.run(*(word for flag in flags for word in (flag, none)), prompt="")
    names = {"clip_score": "clip_score", "temporal_consistency": "clip_temporal", "lpips": "lpips"}
    for metric, key in names.items():
        assert result["full_frame"][metric] is None
        assert f"no folder {none}; scripts/fetch_checkpoints.py {key}" in result["absent"][f"full_frame.{metric}"]
    assert "scripts/fetch_checkpoints.py lpips" in case.text


def test_a_weights_folder_that_is_there_but_wrong_is_an_error_not_an_absent_metric(tmp_path: Path, backbone: Path):
    case = Case(tmp_path, road(), road(), masks())
    (tmp_path / "bare").mkdir()
    for flag in ("--clip-score-model", "--lpips-weights"):
        with pytest.raises(InputError, match="bare: "):
            case.run(flag, str(tmp_path / "bare"))
    weights = torch.load(backbone / "squeezenet1_1-b8a52dc0.pth", weights_only=True)
    weights.pop("features.3.squeeze.weight")
    torch.save(weights, tmp_path / "bare" / "squeezenet1_1.pth")
    with pytest.raises(InputError, match=r"squeezenet1_1\.pth: no tensor 'features\.3\.squeeze\.weight'"):
        case.run("--lpips-weights", str(tmp_path / "bare"))


def test_the_score_needs_a_text(tmp_path: Path, tiny):
    with pytest.raises(InputError, match="--prompt or --first-frame-json"):
        Case(tmp_path, road(), road(), masks()).run("--clip-score-model", str(tiny("clip")), prompt="")


def test_the_text_names_the_rate_and_the_files(tmp_path: Path):
    case = Case(tmp_path, road(), road(), masks())
    result = case.run()
    assert "Rate: 10 frames a second" in case.text
    assert result["fps"] == 10
    for name in ("clip", "edited", "masks"):
        assert f"{name.capitalize()}: {result['paths'][name]}" in case.text
