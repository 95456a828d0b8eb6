"""The tiny driver's training: its targets drive the true path, and it reads what the policy will read at run time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.data.physical_ai_av.clip import Clip
from relane.data.physical_ai_av.roots import open_dataset
from relane.drivers import alpamayo as driver
from relane.drivers.alpamayo.action_space import initial_speed, unicycle
from relane.drivers.alpamayo.policy import load_policy
from relane.prompts.lanes import Attributes
from simworld.learning import drives, driving, loop, vision
from simworld.learning.pictures import ALL
from simworld.tiny import alpamayo
from simworld.world.dataset import plan_clips, write_dataset
from simworld.world.rig import FOUR_CAMERAS, FRONT_WIDE
from simworld.world.scene import Scene

SIGHT = driver.sight({"cameras": 4})
DASHED, SOLID = Attributes("single", "white", "dashed"), Attributes("single", "white", "solid")


@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([DASHED, SOLID]), st.floats(1.6, 8.0))
@settings(max_examples=15, deadline=None)
def test_the_actions_to_learn_lead_along_the_true_path(seed, slower, attributes, t0) -> None:
    drive = Scene(seed, attributes, slower_car=slower, seconds=14.5).drive
    history, rotation, actions, path = drives.ego(drive, t0)
    speed = initial_speed(history, rotation, 0.1)
    xyz, _ = unicycle(actions[:, 0], actions[:, 1], speed, np.float64(0), 0.1)
    assert np.abs(xyz[:, :2] - path).max() < 0.05


def test_the_history_is_the_one_that_the_data_set_gives(tmp_path: Path) -> None:
    plans = plan_clips(1, 3, 1)
    write_dataset(tmp_path / "world", plans, (FRONT_WIDE,), width=32, height=18, fps=1.0, seconds=12.0)
    clip = Clip(open_dataset(tmp_path / "world"), plans[0].clip_id)
    scene = Scene(plans[0].seed, plans[0].attributes, slower_car=True, seconds=12.0)
    history, rotation, _, path = drives.ego(scene.drive, 5.1)
    found = clip.history(5_100_000, SIGHT.history)
    np.testing.assert_allclose(history, found[0], atol=2e-3)
    np.testing.assert_allclose(rotation, found[1], atol=1e-4)
    np.testing.assert_allclose(path, clip.future(5_100_000, SIGHT.future)[0][:, :2], atol=2e-3)


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory):
    """Folder, network and data of one rendered scene, nothing learnt yet."""
    work = tmp_path_factory.mktemp("learning")
    files = list(drives.written(work / "drives", 0, 1, 1))
    network = driving.prepare(work / "base", 0)
    return work / "base", network, driving.Data(work / "base", files, network, torch.device("cpu")), files


def test_one_moment_serves_several_paintings_because_its_past_is_the_same(learning) -> None:
    *_, data, files = learning
    with np.load(files[0]) as found:
        assert found["acts"].any()
        # Two paintings may be crossed and two may not, so that neither answer is the likelier one.
        single_dashed = found["marks"][..., 2] & ~found["marks"][..., 0]
        assert (single_dashed.sum(1) == 2).all()
        for acts, actions in zip(found["acts"], found["actions"], strict=True):
            if acts:
                assert np.abs(actions[0] - actions[1]).max() > 0.1
    moments, paintings = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    assert data.crosses(moments.flatten(), paintings.flatten()).sum() == 8


def _scene_of(learning, moment: int, painting: int):
    """What the camera would have recorded, 16 frames of 320 x 180, of a moment that `drives.moments` drew."""
    calls = []
    original = drives.look

    def recorded(scene, camera, t0):
        calls.append((scene, camera, t0))
        return np.zeros((4, drives.SIZE[1], drives.SIZE[0], 3), np.uint8)

    drives.look = recorded
    try:
        drives.moments(("learning", "drives", 0, 0))
    finally:
        drives.look = original
    here = calls[7 * moment : 7 * moment + 7]
    chosen = {FRONT_WIDE: here[painting]} | dict(zip(drives.REST, here[4:], strict=True))
    return [
        chosen[camera][0].image(camera, chosen[camera][2] + back) for camera in FOUR_CAMERAS for back in drives.BACK
    ]


def test_it_reads_in_training_what_the_policy_reads_at_run_time(learning, tmp_path: Path) -> None:
    base, network, data, files = learning
    alpamayo.save_shards(network, base)
    policy = load_policy(base)
    moment, painting = 1, 3
    with np.load(files[0]) as found:
        history = found["history"][moment]
    prompt = policy.prompt([_scene_of(learning, moment, painting)], history[None])
    chosen = torch.tensor([moment]), torch.tensor([painting])
    ids = data.prompt.repeat(1, 1).index_copy(1, data.history_at, data.bins[chosen[0]])
    assert ids.tolist() == prompt.input_ids.tolist()
    pixels = data.pictures(*chosen, vary=False)
    assert pixels.shape == prompt.pixel_values.shape
    # Two libraries' bicubic filters round differently: by a grey level or two.
    assert (pixels - prompt.pixel_values).abs().max() < 6 / 127.5
    assert (pixels - prompt.pixel_values).abs().mean() < 0.5 / 127.5

    reply = data.words[2:3]
    eyes = vision.OneSize(network.vlm.model.visual, driving.GRID, 16)
    full = torch.cat([ids, reply], 1)
    with torch.no_grad():
        states, _, _ = driving.read(network, data, full, pixels, eyes)
        types = (full == policy.image_token).long()
        own = network.vlm(
            input_ids=full, pixel_values=pixels, image_grid_thw=prompt.image_grid_thw, mm_token_type_ids=types
        )
    torch.testing.assert_close(network.vlm.lm_head(states), own.logits, atol=1e-3, rtol=1e-3)


def test_every_weight_takes_part_and_a_step_lowers_the_loss(learning) -> None:
    _, network, data, _ = learning
    learner = driving.Learner(network)
    eyes = vision.OneSize(network.vlm.model.visual, driving.GRID, 32)

    def loss():
        torch.manual_seed(1)
        return driving.loss(learner, data, eyes, 2, loop.autocast(data.device))[0]

    before = loss()
    before.backward()
    silent = [name for name, p in learner.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []
    with torch.no_grad():
        size = torch.nn.utils.get_total_norm([p.grad for p in learner.parameters()])
        for parameter in learner.parameters():
            parameter -= 0.02 * parameter.grad / size
    assert loss() < before


def test_variation_keeps_what_the_markings_say(learning) -> None:
    *_, data, _ = learning
    wide = data.wide[0].float()
    torch.manual_seed(0)
    seen = driving.varied(wide, wide)
    assert seen.shape == wide.shape
    # Still far nearer to its own painting than to any other one.
    for k in range(len(wide)):
        distance = [(seen[k] - other).square().mean().item() for other in wide]
        assert np.argmin(distance) == k
    assert len(ALL) == 8
