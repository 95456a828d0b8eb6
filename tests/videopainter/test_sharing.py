"""What instructions on one clip share is exactly what each would have computed, and nothing that it painted."""

import numpy as np
import pytest
import torch

from relane import noise
from relane.editors.videopainter.latent_cache import LatentCache
from relane.editors.videopainter.options import Options
from relane.io.tensor_cache import TensorFolder

OURS = Options(num_inference_steps=2, stride=8)
EXACT = Options.exact(num_inference_steps=2, stride=8)


def edit(golden, options: Options, arm: int, shared: LatentCache | None) -> np.ndarray:
    """One clip of two windows under the instruction `arm`: another prompt, another first frame."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (17, 32, 48, 3), np.uint8)
    masks = np.zeros((17, 32, 48), bool)
    masks[:, 8:24, 8:32] = True
    first = frames[0].copy()
    first[masks[0]] = 80 * arm
    pieces = golden.models().edit(
        lambda start, stop: (frames[start:stop].copy(), masks[start:stop].copy()),
        len(frames),
        first,
        golden.inputs["prompt_embeds"] * (1 + arm),
        golden.inputs["negative_prompt_embeds"],
        options,
        lambda start, purpose: noise.generator("clip", start, purpose),
        latent_cache=shared,
    )
    return np.concatenate(list(pieces))


# Our mode shares every window of the source; the original starts from painted pixels in its first window alone, and
# takes the later ones' video and masked video from the source.
@pytest.mark.parametrize(("options", "entries"), [(OURS, 2), (EXACT, 2)])
def test_a_second_instruction_computes_nothing_again_and_paints_the_same_bytes(golden, tmp_path, options, entries):
    first, second = (LatentCache(TensorFolder(tmp_path), "w") for _ in range(2))
    one, other = edit(golden, options, 1, first), edit(golden, options, 2, second)
    assert (first.folder.hits, first.folder.misses) == (0, entries)
    assert (second.folder.hits, second.folder.misses) == (entries, 0)
    np.testing.assert_array_equal(one, edit(golden, options, 1, None))
    np.testing.assert_array_equal(other, edit(golden, options, 2, None))
    assert np.abs(one - other).max() > 1e-3


def test_other_pixels_weights_or_arithmetic_are_other_entries(golden, tmp_path):
    vae, video = golden.models().vae.eval(), torch.rand(1, 3, 9, 32, 48)
    shared = LatentCache(TensorFolder(tmp_path), "w")
    with torch.no_grad():
        shared(vae, video)
        changed = video.clone()
        changed[0, 0, 0, 0, 0] += 1e-6
        shared(vae, changed)
        LatentCache(TensorFolder(tmp_path), "other weights")(vae, video)
        shared(vae.to(torch.bfloat16), video)
    assert shared.folder.hits == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_entry_is_made_anew(tmp_path):
    folder = TensorFolder(tmp_path)
    path = folder.path("key")
    assert folder.read(path) is None
    folder.write(path, torch.arange(3))
    path.write_bytes(path.read_bytes()[:20])
    assert folder.read(path) is None
    folder.write(path, torch.arange(3))
    assert folder.read(path).tolist() == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
