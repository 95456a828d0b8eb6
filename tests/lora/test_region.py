"""Training sees what painting sees: the same part of the road, the same hole, at the same size."""

from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import select_region
import torch
import train_lora
import yaml
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from relane import noise
from relane.config.sections.region import Region
from relane.errors import InputError
from relane.io.files import write_json
from relane.io.masks import mask_writer, read_masks
from relane.io.video import read_frames, write_video
from relane.models.flux_fill import FluxFill
from relane.training import dataset
from relane.training.lora.cache import Cache, encode_picture, load_part
from relane.training.lora.region import is_road, select
from relane.training.lora.settings import Settings
from simworld.world.dataset import parse_slug
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Scene

CONFIG = Path(train_lora.__file__).parents[1] / "config"


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> tuple[Path, np.ndarray, np.ndarray]:
    """(folder with clip.mp4 and masks.npz of one frame, its picture as decoded, its road mask)."""
    folder = tmp_path_factory.mktemp("clip")
    scene = Scene(3, parse_slug("single-white-solid"))
    frame = scene.render(FRONT_WIDE, 2.0)
    write_video(folder / "clip.mp4", frame.image[None], fps=10)
    with mask_writer(folder / "masks.npz", (1, *frame.road_mask.shape)) as write:
        write(frame.road_mask)
    write_json(folder / "timing.json", {"status": "ok"})
    return folder, read_frames(folder / "clip.mp4")[0], frame.road_mask


@pytest.mark.parametrize("region", ["corridor", "road"])
def test_the_mask_of_a_frame_is_the_region_that_painting_would_take(clip, tmp_path, region: str) -> None:
    folder, image, road = clip
    flags = f"--clip {folder}/clip.mp4 --masks {folder}/masks.npz --timing {folder}/timing.json --region {region}"
    flags += f" --dilate-size 5 --output {tmp_path}/region.npz --sidecar {tmp_path}/region.json"
    select_region.main(flags.split())
    mask = select(image, road, Region(region=region, dilate_size=5))
    assert np.array_equal(mask, read_masks(tmp_path / "region.npz")[0])
    assert (mask.sum() < 0.5 * road.sum()) == (region == "corridor")


def rows(folder: Path, image: np.ndarray, road: np.ndarray) -> list[dataset.Row]:
    """A dataset of one picture twice: as a frame of a video, and as a user's own with the same mask."""
    made = [
        dataset.Row(f"images/{n}.png", f"masks/{n}.png", "road with single white solid lane markings") for n in (0, 1)
    ]
    for row in made:
        dataset.write_picture(folder / row.image, image)
        dataset.write_picture(folder / row.mask, road)
    (folder / "captions").mkdir()
    write_json(folder / "captions/0.json", {"video": "v.cam", "frame": 1, "coverage": 0.3})
    write_json(folder / "captions/1.json", {"image": "1.png"})
    dataset.write_rows(folder / "train.csv", made)
    return made


def test_roads_become_regions_and_a_user_s_own_masks_stay(clip, tiny, tmp_path) -> None:
    _, image, road = clip
    made = rows(tmp_path, image, road)
    how = Settings(region=Region(dilate_size=5))
    cache = Cache(tmp_path / "cache", tiny("flux_fill"), tmp_path, made, how)
    assert cache.roads == [True, False]
    height, width = road.shape
    assert np.array_equal(cache.pixels(0)[1][:height, :width], select(image, road, how.region))
    assert np.array_equal(cache.pixels(1)[1][:height, :width], road)
    whole_road = Settings(region=Region(region="road", dilate_size=5))
    other = Cache(tmp_path / "cache", tiny("flux_fill"), tmp_path, made, whole_road)
    assert other.pictures[0] != cache.pictures[0]
    assert other.pictures[1] == cache.pictures[1], "what no setting changes is not encoded again"


@pytest.mark.parametrize("keep", [True, False])
def test_the_hole_of_training_is_the_hole_of_painting(tiny, monkeypatch: pytest.MonkeyPatch, keep: bool) -> None:
    # The VAE's posterior is drawn by another key in training: its middle can be compared.
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mean)
    painter = FluxFill(tiny("flux_fill"))
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    mask = np.zeros((32, 48), bool)
    mask[12:, 8:40] = True
    seen = []
    painter.pipe.transformer.register_forward_pre_hook(
        lambda module, args, how: seen.append(how["hidden_states"]), with_kwargs=True
    )
    rng = partial(noise.generator, "a")
    painter.paint(image, mask, "road", rng, num_inference_steps=1, max_sequence_length=16, keep_masked_pixels=keep)
    encoders = load_part(tiny("flux_fill"), "encoders")
    row = encode_picture(encoders, image, mask, "a", keep_masked_pixels=keep)
    bits = torch.from_numpy(np.unpackbits(row["mask"].numpy(), axis=-1)).float()
    torch.testing.assert_close(seen[0][0, :, 64:], torch.cat([row["masked"], bits], 1))
    other = encode_picture(encoders, image, mask, "a", keep_masked_pixels=not keep)
    assert (other["masked"] - row["masked"]).abs().max() > 0.1


def test_the_settings_are_those_of_the_run_by_default() -> None:
    config = yaml.safe_load((CONFIG / "config.yaml").read_text())
    args = train_lora.parser().parse_args("--dataset d --flux-fill f --output o".split())  # noqa: SIM905
    how = Settings.of_arguments(args)
    assert vars(how.region) == {name: config["region"][name] for name in vars(how.region)}
    assert how.keep_masked_pixels is config["first_frame"]["keep_masked_pixels"] is False
    assert how.masked_weight == config["lora"]["masked_weight"] == 10
    thesis = yaml.safe_load((CONFIG / "thesis.yaml").read_text())
    ways = (thesis["region"]["region"], thesis["first_frame"]["keep_masked_pixels"], thesis["lora"]["masked_weight"])
    assert ways == ("road", True, 1)


@pytest.mark.parametrize("wrong", [{"dilate_size": -1}, {"corridor_width": 0.0}, {"corridor_unit": "ft"}])
def test_a_wrong_region_is_named(wrong: dict) -> None:
    with pytest.raises(InputError, match=r"region\."):
        Region.of(Namespace(**vars(Region()) | wrong))


def test_a_road_is_told_by_the_record_of_its_frame() -> None:
    assert is_road({"video": "a.b", "frame": 3, "prompt": "p"})
    assert not is_road({"image": "mine.png", "prompt": "p"})
