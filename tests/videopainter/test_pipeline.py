"""Our mode: any length, seamless windows, shared noise, nothing kept that is not used."""

import numpy as np
import pytest
import torch

from relane import noise
from relane.editors.videopainter import pipeline
from relane.editors.videopainter.options import Options
from relane.errors import InputError

OURS = Options(num_inference_steps=2, stride=8)


class Clip:
    """Frames of noise with a square hole, and what was read and drawn while it was edited."""

    def __init__(self, frames: int, seed: int = 0):
        self.frames = np.random.default_rng(seed).integers(0, 256, (frames, 32, 48, 3), np.uint8)
        self.masks = np.zeros((frames, 32, 48), bool)
        self.masks[:, 8:24, 8:32] = True
        self.read, self.drawn, self.traced = [], [], {}

    def edit(self, models, golden, options=OURS, prompt=None, image=None) -> np.ndarray:
        def read(start, stop):
            self.read.append((start, stop))
            return self.frames[start:stop].copy(), self.masks[start:stop].copy()

        def generator_fn(start, purpose):
            self.drawn.append((start, purpose))
            return noise.generator(7, "clip", start, purpose)

        pieces = models.edit(
            read,
            len(self.frames),
            self.frames[0] if image is None else image,
            golden.inputs["prompt_embeds"] if prompt is None else prompt,
            golden.inputs["negative_prompt_embeds"],
            options,
            generator_fn,
            trace=lambda name, tensor: self.traced.update({name: tensor.clone()}),
        )
        self.pieces = list(pieces)
        return np.concatenate(self.pieces)


@pytest.mark.parametrize("frames", [9, 10, 17, 22, 30])
def test_every_frame_comes_out_once(golden, frames):
    clip = Clip(frames)
    result = clip.edit(golden.models(), golden)
    assert result.shape == (frames, 32, 48, 3)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert {stop - start for start, stop in clip.read} == {9}
    assert clip.read[-1][1] == frames


def test_a_clip_shorter_than_a_window_is_refused_before_anything_is_read(golden):
    clip = Clip(8)
    with pytest.raises(InputError, match=r"8 frames.*at least 9"):
        clip.edit(golden.models(), golden)
    assert clip.read == []


def test_the_same_job_gives_the_same_bytes(golden):
    np.testing.assert_array_equal(Clip(14).edit(golden.models(), golden), Clip(14).edit(golden.models(), golden))


def test_arms_share_their_noise(golden):
    one, other = Clip(14), Clip(14)
    models = golden.models()
    a = one.edit(models, golden)
    b = other.edit(models, golden, prompt=golden.inputs["prompt_embeds"] * 2)
    assert np.abs(a - b).max() > 1e-3
    assert one.drawn == other.drawn
    for name in ("w0_noise", "w1_noise", "w0_video_latents"):
        assert torch.equal(one.traced[name], other.traced[name])


def test_a_longer_clip_starts_alike_and_holds_no_more_at_a_time(golden):
    short, long = Clip(17), Clip(65)
    models = golden.models()
    a, b = short.edit(models, golden), long.edit(models, golden)
    np.testing.assert_array_equal(a[:8], b[:8])
    assert max(len(piece) for piece in long.pieces) == max(len(piece) for piece in short.pieces) == 9


def test_later_windows_start_from_the_painted_frame(golden, monkeypatch):
    """Its mask is empty there, as in the first window and in training; outside the mask it is the source itself, so
    that colours do not drift from window to window."""
    starts, composite = [], pipeline._composite

    def keep(*given):
        starts.append((given, composite(*given)))
        return starts[-1][1]

    monkeypatch.setattr(pipeline, "_composite", keep)
    clip = Clip(17)
    clip.edit(golden.models(), golden)
    assert clip.traced["w1_mask"][:, 0].max() == 0
    assert clip.traced["w1_mask"][:, 1:].max() == 1
    ((painted, _, frame), image) = starts[0]
    pixels, hole = (image[0].permute(1, 2, 0).numpy() + 1) / 2, clip.masks[8]
    assert frame == 8
    np.testing.assert_allclose(pixels[~hole], clip.frames[8][~hole] / 255, atol=1e-6)
    np.testing.assert_allclose(pixels[hole], painted[hole], atol=1e-6)


def test_where_windows_overlap_the_new_one_fades_in(golden, monkeypatch):
    windows = [np.full((9, 32, 48, 3), value, np.float32) for value in (0.0, 1.0)]
    monkeypatch.setattr(pipeline.codec, "decode", lambda vae, latents: [windows.pop(0)])
    result = Clip(14).edit(golden.models(), golden)
    # Windows start at 0 and 5: frames 5 to 8 are painted twice.
    np.testing.assert_allclose(result[:, 0, 0, 0], [0] * 5 + [0.2, 0.4, 0.6, 0.8] + [1] * 5, atol=1e-6)


def test_background_latents_are_the_sources_own(golden):
    clip = Clip(9)
    clip.edit(golden.models(), golden)
    outside = clip.traced["w0_mask"].expand(-1, -1, 16, -1, -1) == 0
    final, source = clip.traced["w0_s1_latents_after"], clip.traced["w0_video_latents"]
    assert torch.equal(final[outside], source[outside])
    assert not torch.equal(final[~outside], source[~outside])


def test_black_holes_bleed_into_the_originals_background_and_not_into_ours(golden):
    models, latents = golden.models(), {}
    for name in ("source", "black_holes"):
        clip = Clip(9)
        clip.edit(models, golden, OURS.replace(background=name))
        latents[name] = clip.traced["w0_video_latents"]
        outside = clip.traced["w0_mask"].expand(-1, -1, 16, -1, -1) == 0
    assert (latents["source"][outside] - latents["black_holes"][outside]).abs().max() > 1e-3


def test_block_outputs_are_kept_only_for_a_next_window_that_uses_them(golden):
    kept = []
    for weight in (0.0, 0.5):
        models = golden.models()
        forward = models.transformer.forward
        models.transformer.forward = lambda *args, _forward=forward, **kwargs: (
            kept.append(kwargs["keep_states"]) or _forward(*args, **kwargs)
        )
        Clip(17).edit(models, golden, OURS.replace(prev_clip_weight=weight))
    assert kept == [False] * 4 + [False, True, False, False]


def test_strength_below_one_takes_fewer_steps_from_the_noised_source(golden):
    clip = Clip(9)
    clip.edit(golden.models(), golden, OURS.replace(num_inference_steps=4, strength=0.5))
    assert sorted(name for name in clip.traced if name.endswith("timestep")) == ["w0_s0_timestep", "w0_s1_timestep"]
    assert clip.traced["w0_s0_timestep"].tolist() == [499, 499]
    start, source, noised = (clip.traced[f"w0_{name}"] for name in ("latents0", "video_latents", "noise"))
    mix = torch.stack([source.flatten(), noised.flatten()], dim=1)
    residual = start.flatten() - mix @ torch.linalg.lstsq(mix, start.flatten()[:, None]).solution[:, 0]
    assert residual.abs().max() < 1e-4


def test_without_the_given_first_frame_the_mask_stays(golden):
    clip = Clip(9)
    clip.edit(golden.models(), golden, OURS.replace(first_frame_gt=False))
    assert clip.traced["w0_mask"][:, 0].max() == 1


@pytest.mark.parametrize("options", [OURS, Options.exact(num_inference_steps=2, stride=5, prev_clip_weight=0.5)])
def test_bfloat16_runs_through(golden, options):
    models = golden.models(id_mode=True)
    for network in (models.transformer, models.branch, models.vae):
        network.to(torch.bfloat16)
    clip = Clip(14)
    assert np.isfinite(clip.edit(models, golden, options)).all()
    assert clip.traced["w1_s1_latents_after"].dtype == torch.bfloat16


def test_first_block_cache_starts_anew_with_each_window_and_is_switched_off_again(golden):
    models, calls = golden.models(), []
    models.transformer.transformer_blocks[2].attn1.register_forward_hook(lambda *_: calls.append(1))
    cached = OURS.replace(num_inference_steps=4, first_block_cache=1e9)
    Clip(17).edit(models, golden, cached)
    assert len(calls) == 2  # the first step of each of two windows, the other three steps answered from the cache
    Clip(17).edit(models, golden, cached.replace(first_block_cache=0.0))
    assert len(calls) == 2 + 8
