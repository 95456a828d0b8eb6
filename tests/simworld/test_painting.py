"""What the painter and the video model are trained on is what the pipeline will show them."""

import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline

from relane.editors.videopainter.loading import load_videopainter
from relane.editors.videopainter.text import prompt_embeddings
from relane.io.compose import choose_region
from relane.noise import seed_of
from simworld.learning import autoencoder, moving, painting, pictures
from simworld.tiny import cogvideox, text
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Scene


def test_masks_are_packed_as_the_pipeline_packs_them(tiny):
    pipe = FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)
    mask = torch.from_numpy(np.random.default_rng(0).random((1, 32, 48)) < 0.5)
    picture = torch.zeros(1, 3, 32, 48)
    expected, _ = pipe.prepare_mask_latents(
        mask[:, None].float(), picture, 1, 16, 1, 32, 48, torch.float32, torch.device("cpu"), None
    )
    assert torch.equal(painting.pack_mask(mask).float(), expected)


def test_an_inflated_video_autoencoder_codes_a_frame_as_the_picture_autoencoder_does():
    flat, video = moving.flat_autoencoder(0).eval(), moving.video_autoencoder(1).eval()
    autoencoder.inflate(flat.state_dict(), video)
    frame = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        one, other = flat.encode(frame).latent_dist.mean, video.encode(frame[:, :, None]).latent_dist.mean[:, :, 0]
        assert torch.allclose(one, other, atol=1e-4)
        assert torch.allclose(flat.decode(one).sample, video.decode(one[:, :, None]).sample[:, :, 0], atol=1e-3)


def test_the_video_models_prompts_are_embedded_as_the_editor_embeds_them(tmp_path):
    tokenizer = cogvideox.tokenizer()
    with text.seeded(0):
        encoder = cogvideox.text_encoder(len(tokenizer))
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    encoder.save_pretrained(tmp_path / "text_encoder")
    made = moving.prompts(tokenizer, encoder, torch.device("cpu"))
    texts = [pictures.ALL[3].prompt(), ""]
    length = moving.NETWORK["max_text_seq_length"]
    used = prompt_embeddings(tmp_path, texts, length, torch.device("cpu"), torch.float32)
    assert torch.equal(made[3], used[0][0])
    assert torch.equal(made[-1], used[1][0])


@pytest.mark.parametrize("seed", range(5))
def test_a_training_crop_is_a_box_that_the_editor_would_choose(seed):
    crop = pictures.Crop(np.random.default_rng(seed), 180, 320)
    mask = np.zeros((180, 320), bool)
    mask[100:, crop.left : crop.left + crop.width] = True
    box = choose_region(mask, pictures.PAINT_SIZE, "crop")
    # The editor leaves room around the mask; the box's shape and its lower edge are the same.
    assert crop.top - crop.above + crop.height == 180 == box.top + box.height
    assert crop.width / crop.height == pytest.approx(box.width / box.height, rel=0.01)
    frame = np.random.default_rng(seed).integers(0, 256, (180, 320, 3), np.uint8)
    assert crop(frame).shape == (*pictures.PAINT_SIZE, 3)


@pytest.mark.parametrize("seed", range(4))
def test_a_training_corridor_covers_the_line_and_leaves_the_lanes(seed):
    scene = Scene(seed, pictures.ALL[4])
    frame = scene.render(FRONT_WIDE, 3.0)
    lines = pictures.lines_to_cover(pictures.rng_of("test", seed), scene)
    hole = pictures.corridor(scene, 3.0, lines, frame.road_mask)
    # Only the line at d = 0 is always covered; its paint is the marking nearest to the camera's own lane.
    pixels, inside = scene.project_road(FRONT_WIDE, 3.0, scene.drive.at(3.0)[0] + np.arange(5.0, 40), np.zeros(35))
    on_line = np.rint(pixels[inside]).astype(int)
    covered = hole[on_line[:, 1], on_line[:, 0]] | ~frame.road_mask[on_line[:, 1], on_line[:, 0]]
    assert covered.mean() > 0.9
    assert 0.05 < hole[frame.road_mask].mean() < 0.8


def test_the_same_key_renders_the_same_pictures_and_resuming_does_not_render_again(tmp_path):
    calls = []

    def render(key: tuple) -> dict[str, np.ndarray]:
        calls.append(key)
        return {"x": np.array([seed_of(*key) % 7])}

    first = pictures.gathered(render, [("a", 1), ("a", 2)], tmp_path / "cache", workers=1)
    again = pictures.gathered(render, [("a", 1), ("a", 2)], tmp_path / "cache", workers=1)
    assert len(calls) == 2
    assert np.array_equal(first["x"], again["x"])


def test_a_trained_video_model_loads_as_videopainter(tmp_path):
    painter = moving.Painter(0)
    tokenizer = cogvideox.tokenizer()
    encoder = cogvideox.text_encoder(len(tokenizer))
    cogvideox.save(moving.video_autoencoder(0), painter.transformer, encoder, tokenizer, tmp_path / "cog")
    painter.branch.save_pretrained(tmp_path / "branch")
    models = load_videopainter(tmp_path / "cog", tmp_path / "branch", torch.device("cpu"), torch.float32, "", "none", 1)
    assert models.size == pictures.PAINT_SIZE
    assert models.window == pictures.CLIP_FRAMES
