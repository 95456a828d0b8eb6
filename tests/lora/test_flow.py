"""Flow matching on FLUX Fill's inputs: what the model is shown in training is what it is shown in painting."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxFillPipeline
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from relane.training.lora import cache, flow
from relane.training.lora.cache import Cache
from relane.training.lora.settings import Settings
from simworld.tiny import flux_fill

SETTINGS = Settings(dtype="float32", max_sequence_length=16)


@pytest.fixture
def encoded(rows_folder, tiny, tmp_path):
    from relane.training.dataset import read_rows

    rows = Cache(tmp_path / "cache", tiny("flux_fill"), rows_folder, read_rows(rows_folder), SETTINGS)
    rows.fill(torch.device("cpu"))
    return rows


def test_training_shows_the_model_what_the_pipeline_shows_it(encoded, tiny, monkeypatch):
    """Every input but the noise, on a row of the dataset, against a recording of the stock pipeline's call."""
    pipe = FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    # The posterior is sampled, each time anew: take its mean on both sides, so that both are comparable.
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior

    monkeypatch.setattr(Posterior, "sample", lambda self, generator=None: self.mode())
    image, mask = encoded.pixels(3)
    seen = []
    pipe.transformer.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs), with_kwargs=True)
    pipe(
        prompt=encoded.rows[3].prompt,
        image=Image.fromarray(image),
        mask_image=Image.fromarray(mask.astype(np.uint8) * 255),
        height=32,
        width=48,
        num_inference_steps=1,
        max_sequence_length=16,
    )
    texts = cache.encode_texts(pipe, encoded.rows[3].texts, 16)
    row = cache.decoded(cache.encode_picture(pipe, image, mask, 0), texts)
    trained = []
    pipe.transformer.register_forward_pre_hook(lambda _, args, kwargs: trained.append(kwargs), with_kwargs=True)
    draw = flow.Draw(torch.zeros(6, 64), 0.0)
    flow.loss(pipe.transformer, pipe.scheduler, [row], [draw], 30.0, 1.0, torch.device("cpu"), torch.float32)
    (painted,), (training,) = seen[:1], trained
    assert set(training) <= set(painted)
    assert torch.equal(training["hidden_states"][..., 64:], painted["hidden_states"][..., 64:])
    for name in ("guidance", "pooled_projections", "encoder_hidden_states", "txt_ids", "img_ids"):
        assert torch.equal(training[name], painted[name]), name


def test_the_latents_of_a_row_are_the_pictures_own(encoded, tiny):
    """Decoding the cached latents gives what the autoencoder makes of the picture."""
    pipe = FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)
    image, mask = encoded.pixels(0)
    row = cache.decoded(cache.encode_picture(pipe, image, mask, 0), cache.encode_texts(pipe, ("a", "a"), 16))
    latents = FluxFillPipeline._unpack_latents(row.latents[None], *mask.shape, pipe.vae_scale_factor)
    picture = pipe.image_processor.preprocess(Image.fromarray(image))
    with torch.no_grad():
        posterior = pipe.vae.encode(picture).latent_dist
    found = latents / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor
    assert ((found - posterior.mean).abs() <= 6 * posterior.std).all()
    assert torch.equal(row.mask.reshape(2, 3, 2, 2, 64)[0, 0, 0, 0].reshape(8, 8), torch.zeros(8, 8))
    tokens = torch.from_numpy(mask[:32, :48].astype(np.float32)).reshape(2, 16, 3, 16).mean((1, 3))
    assert torch.allclose(row.mask.float().mean(1), tokens.flatten())


class Oracle(torch.nn.Module):
    """Knows the clean latents, so it can say the true velocity (x_s - x_0) / s; off by `error` in channel 0."""

    def __init__(self, clean, error):
        super().__init__()
        self.clean, self.error = clean, error
        self.config = flux_fill.transformer().config

    def forward(self, hidden_states, timestep, **_):
        velocity = (hidden_states[..., :64] - self.clean) / timestep[:, None, None]
        return (velocity + self.error,)


def row_of(tokens, masked_tokens):
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(tokens, 256)
    mask[:masked_tokens] = 1
    latents = torch.randn(tokens, 64, generator=generator)
    return flow.Encoded(latents, torch.zeros(tokens, 64), mask, (1, tokens), torch.zeros(4, 64), torch.zeros(64))


@given(st.integers(0, 2**31), st.floats(0.0, 0.999), st.sampled_from([0.5, 1.0, 4.0]))
def test_the_loss_is_zero_for_the_true_velocity_and_weighs_the_masked_tokens(seed, place, weight):
    row = row_of(4, 1)
    draw = flow.Draw(torch.randn(4, 64, generator=torch.Generator().manual_seed(seed)), place)

    def loss(error):
        model = Oracle(row.latents, error)
        scheduler = flux_fill.scheduler()
        return float(flow.loss(model, scheduler, [row], [draw], 30.0, weight, torch.device("cpu"), torch.float32))

    assert loss(torch.zeros(4, 64)) < 1e-4
    off = torch.zeros(4, 64)
    off[0] = 3.0  # in the one masked token of four
    assert loss(off) == pytest.approx(9 * weight / (weight + 3), rel=1e-2)


def test_noise_levels_are_the_schedulers_sigmas():
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    assert flow.noise_level(scheduler, 0.0) == 1.0
    assert flow.noise_level(scheduler, 0.5) == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
    assert flow.noise_level(scheduler, 1.0) == pytest.approx(3e-3 / (1 + 2e-3))


def test_draws_depend_on_their_key_alone_and_are_logit_normal():
    places = np.array([flow.draw((1, 1), 0.0, 1.0, 7, n).place for n in range(2000)])
    logits = np.log(places / (1 - places))
    assert abs(logits.mean()) < 0.1
    assert abs(logits.std() - 1) < 0.06
    assert torch.equal(flow.draw((2, 3), 0, 1, 1, "a").noise, flow.draw((2, 3), 0, 1, 1, "a").noise)
    assert not torch.equal(flow.draw((2, 3), 0, 1, 1, "a").noise, flow.draw((2, 3), 0, 1, 1, "b").noise)


def test_a_full_cache_needs_no_encoder_and_a_changed_picture_is_encoded_again(encoded, tiny, monkeypatch):
    from relane.training import dataset

    again = Cache(encoded.folder, encoded.flux_fill, encoded.source, encoded.rows, SETTINGS)
    monkeypatch.setattr(cache, "load_part", lambda *_: pytest.fail("the encoders were loaded"))
    assert again.fill(torch.device("cpu")) == 0
    monkeypatch.undo()
    dataset.write_picture(encoded.source / "images/2.png", np.full((32, 48, 3), 9, np.uint8))
    changed = Cache(encoded.folder, encoded.flux_fill, encoded.source, encoded.rows, SETTINGS)
    assert changed.digest != encoded.digest
    assert changed.fill(torch.device("cpu")) == 1
    changed.prune()
    assert len(list(encoded.folder.iterdir())) == 8 + 4  # pictures and distinct prompts


def test_several_processes_encode_every_row_once(rows_folder, tiny, tmp_path):
    from relane.training.dataset import read_rows

    rows = Cache(tmp_path / "cache", tiny("flux_fill"), rows_folder, read_rows(rows_folder), SETTINGS)
    for process in range(3):
        rows.fill(torch.device("cpu"), process, 3)
    assert all(rows[n].latents.shape == (6, 64) for n in range(len(rows)))
    assert rows.fill(torch.device("cpu")) == 0
