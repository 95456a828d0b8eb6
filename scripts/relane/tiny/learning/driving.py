"""The Alpamayo-format driver learns the synthetic driver: words by cross-entropy, actions by flow matching.

x_t = (1 - t) noise + t action, and the expert predicts action - noise (Lipman et al., "Flow Matching for Generative
Modeling", 2023, eq. 23 with sigma_min = 0), over the key-value cache of prompt and reply, as in a rollout.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, DynamicCache

from relane import noise
from relane.alpamayo.action_space import initial_speed
from relane.alpamayo.config import read_config
from relane.alpamayo.flow import Expert, Prefix
from relane.alpamayo.networks import AlpamayoNetwork
from relane.alpamayo.tokens import IMAGE_PAD, PLACEHOLDER, STOP, extend_tokenizer, history_bins, prompt_text
from relane.files import read_json, write_json
from relane.lanes import Attributes
from relane.tiny.learning import vision
from relane.tiny.learning.pictures import ALL, any_attributes, repainted, resized, rng_of
from relane.world.rig import FOUR_CAMERAS, FRONT_WIDE
from relane.world.scene import Scene

SIZE = (224, 128)  # width and height to which the image processor scales 320 x 180 under the pixel limit below
PIXELS = {"min_pixels": 32 * 32 * 2, "max_pixels": 32 * 32 * 30}
FREE, STAY, CHANGE = "keep lane clear road ahead", "slow down follow lead vehicle", "nudge left lead vehicle ahead"
WORDS = (FREE, STAY, CHANGE)
# Of the world's drives: about the deviations of their accelerations (m/s2) and curvatures (1/m).
ACTION_STD = {"accel_std": 0.6, "curvature_std": 0.004}
# Paths a scene's prompt is used for in one step: the expert is cheaper than reading sixteen pictures.
FLOWS = 4


@dataclass(frozen=True)
class Example:
    """One moment of one drive. images (16, 128, 224, 3) uint8, camera-major and oldest first; history (16, 3) and
    rotation (16, 3, 3) in the rig frame at t0; actions (64, 2) acceleration m/s2 and curvature 1/m; path (64, 2)
    metres; words: index into WORDS."""

    images: np.ndarray
    history: np.ndarray
    rotation: np.ndarray
    actions: np.ndarray
    path: np.ndarray
    words: int


def poses(scene: Scene, times: np.ndarray, t0: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y metres (n, 2), heading (n,) in the rig frame at t0, and speed (n,) m/s of the drive at these times."""
    drive = scene.drive
    x0, y0, yaw = (np.interp(t0, drive.t, values) for values in (drive.x, drive.y, drive.heading))
    x, y, heading, speed = (
        np.interp(times, drive.t, values) for values in (drive.x, drive.y, drive.heading, drive.speed)
    )
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack([(x - x0) * c + (y - y0) * s, (y - y0) * c - (x - x0) * s], -1), heading - yaw, speed


def ego(scene: Scene, t0: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """History (16, 3), its rotations (16, 3, 3), the actions (64, 2) that lead along the future, and its path."""
    past = t0 + 0.1 * np.arange(-15, 1)
    xy, heading, _ = poses(scene, past, t0)
    history = np.concatenate([xy, np.zeros((16, 1))], 1).astype(np.float32)
    rotation = np.zeros((16, 3, 3), np.float32)
    rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(heading)
    rotation[:, 1, 0], rotation[:, 0, 1], rotation[:, 2, 2] = np.sin(heading), -np.sin(heading), 1
    path, turned, speed = poses(scene, t0 + 0.1 * np.arange(1, 65), t0)
    start = float(initial_speed(history, rotation, 0.1))
    speed = np.concatenate([[start], speed])
    acceleration = np.diff(speed) / 0.1
    length = speed[:-1] * 0.1 + acceleration * 0.005
    curvature = np.diff(np.concatenate([[0.0], turned])) / np.maximum(length, 0.05)
    return history, rotation, np.stack([acceleration, curvature], -1).astype(np.float32), path.astype(np.float32)


def look(scenes: dict[str, Scene], t0: float) -> np.ndarray:
    """What the driver sees at t0: (16, 128, 224, 3) uint8; `scenes` by camera, so that one camera may be edited."""
    return np.stack(
        [
            resized(scenes[camera].image(camera, t0 + back), *SIZE)
            for camera in FOUR_CAMERAS
            for back in (-0.3, -0.2, -0.1, 0.0)
        ]
    )


def examples(key: tuple) -> list[Example]:
    """Four moments of one place: other markings, other moments, with the path that the driver would take there.

    An edit usually changes the front wide camera alone, so in half of them the other cameras show other markings:
    the front wide camera decides.
    """
    rng = rng_of(*key)
    slower = bool(rng.random() < 0.75)
    crossing = [Attributes("single", color, "dashed") for color in ("white", "yellow")]
    base = Scene(noise.seed_of(*key, "scene"), any_attributes(rng), slower_car=slower)
    found = []
    for number in range(4):
        wanted = crossing[rng.integers(2)] if number % 2 else ALL[[0, 2, 4, 5, 6, 7][rng.integers(6)]]
        driven = base.driven(wanted)
        t0 = 5.1 if rng.random() < 0.4 else float(rng.uniform(2.0, 7.0))
        if slower:
            notices = driven.drive.noticed_s or 99.0
            if rng.random() < 0.6 or t0 > notices - 0.05:
                t0 = notices - float(rng.uniform(0.15, 1.05))
        else:
            notices = 99.0
        others = any_attributes(rng) if rng.random() < 0.5 else wanted
        shown = Scene(base.seed, wanted, slower_car=slower, drive=driven.drive)
        for name in ("_panorama", "_scenery", "traffic"):
            shown.__dict__[name] = getattr(base, name)
        rest = repainted(shown, others)
        views = {camera: shown if camera == FRONT_WIDE else rest for camera in FOUR_CAMERAS}
        # The words tell what the next six seconds bring, as far as they are decided by what is in sight.
        acts = slower and notices - t0 < 4.0
        words = 0 if not acts else 2 if driven.drive.changed_lane else 1
        found.append(Example(look(views, t0), *ego(driven, t0), words))
    return found


class Batches:
    """Examples on a device, and the parts of the prompt that are the same for all."""

    def __init__(self, folder: Path, found: list[Example], device: torch.device) -> None:
        """folder: checkpoint folder (config.json and vlm/), as `relane.tiny.alpamayo.build` writes it."""
        self.config, self.device = read_config(folder), device
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "vlm", local_files_only=True)
        processor = AutoImageProcessor.from_pretrained(folder / "vlm", local_files_only=True)
        self.statistics = list(processor.image_mean), list(processor.image_std)
        self.start = extend_tokenizer(self.tokenizer, self.config)
        self.images = torch.from_numpy(np.stack([one.images for one in found])).to(device)
        self.actions = torch.from_numpy(np.stack([one.actions for one in found])).to(device)
        self.actions[..., 0] = (self.actions[..., 0] - self.config.accel_mean) / self.config.accel_std
        self.actions[..., 1] = (self.actions[..., 1] - self.config.curvature_mean) / self.config.curvature_std
        words = [self._ids(f"{text}<|cot_end|>{STOP}") for text in WORDS]
        longest = max(map(len, words))
        self.words = torch.full((len(WORDS), longest), -100)
        for row, ids in enumerate(words):
            self.words[row, : len(ids)] = torch.tensor(ids)
        self.words = self.words.to(device)
        self.grid = (SIZE[1] // 16, SIZE[0] // 16)
        tokens = self._ids(prompt_text([self.grid[0] * self.grid[1] // 4] * 16, self.config.history_tokens))
        rows = torch.tensor(tokens)[None].repeat(len(found), 1)
        bins = history_bins(np.stack([one.history for one in found]), self.config.history_bins)
        place = rows[0] == self.tokenizer.convert_tokens_to_ids(PLACEHOLDER)
        rows[:, place] = torch.from_numpy(bins) + self.start + self.config.future_bins
        self.prompts = rows.to(device)
        self.of_words = torch.tensor([one.words for one in found], device=device)
        self.image_token = self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        self.one_size: dict[int, vision.OneSize] = {}
        self.positions: torch.Tensor | None = None

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def pictures(self, chosen: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """pixel_values of the chosen examples, their light, sharpness and noise varied, the same for a whole scene."""
        images = self.images[chosen].float()
        shape = (len(chosen), 1, 1, 1, 1)
        gain = 1 + 0.08 * torch.randn(shape, device=self.device)
        images = images * gain + 6 * torch.randn(shape, device=self.device)
        images = images + torch.rand(shape, device=self.device) * 6 * torch.randn(images.shape, device=self.device)
        if rng.random() < 0.3:  # an edited video is softer than a camera's
            flat = images.flatten(0, 1).permute(0, 3, 1, 2)
            flat = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
            images = 0.5 * images + 0.5 * flat.permute(0, 2, 3, 1).view_as(images)
        return vision.patches(images.clamp(0, 255).flatten(0, 1), 16, *self.statistics)


def loss(network: AlpamayoNetwork, data: Batches, chosen: torch.Tensor, rng: np.random.Generator, autocast):
    """Loss of the examples `chosen` (B,) and figures; weights of words to paths 0.5 to 1."""
    batch, length = len(chosen), data.prompts.shape[1]
    reply = data.words[data.of_words[chosen]]
    ids = torch.cat([data.prompts[chosen], reply.clamp(min=0)], 1)
    types = (ids == data.image_token).long()
    grid = torch.tensor([[1, *data.grid]], device=data.device)
    if data.positions is None:
        with torch.no_grad():
            one = network.vlm.model.get_rope_index(ids[:1], types[:1], image_grid_thw=grid.repeat(16, 1))
        data.positions, data.delta = one[0], one[1]
    if batch not in data.one_size:
        data.one_size[batch] = vision.OneSize(network.vlm.model.visual, data.grid, 16 * batch)
    cache = DynamicCache(config=network.vlm.config.text_config)
    pixels = data.pictures(chosen, rng)
    with autocast, data.one_size[batch]:
        out = network.vlm(
            input_ids=ids,
            pixel_values=pixels,
            image_grid_thw=grid.repeat(16 * batch, 1),
            position_ids=data.positions.expand(3, batch, -1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=reply.shape[1] + 1,
        )
        logits = out.logits[:, :-1].float()
        said = F.cross_entropy(logits.flatten(0, 1), reply.flatten(), ignore_index=-100)
        cache.batch_repeat_interleave(FLOWS)
        end = (length + (reply >= 0).sum(1)).repeat_interleave(FLOWS)
        delta = data.delta.expand(batch * FLOWS, 1)
        action = data.actions[chosen].repeat_interleave(FLOWS, 0)
        start = torch.randn_like(action)
        t = torch.rand(len(action), device=data.device)
        x = (1 - t[:, None, None]) * start + t[:, None, None] * action
        expert = Expert(network, Prefix(cache, end, delta), data.config.n_waypoints)
        velocity = expert.velocity(x, t)
    flow = (velocity - (action - start)).square().mean()
    with torch.no_grad():
        right = (logits[:, 0].argmax(-1) == reply[:, 0]).float().mean()
    return flow + 0.5 * said, {"flow": flow.detach(), "said": said.detach(), "first_word": right}


def prepare(folder: Path) -> None:
    """Change a freshly built tiny folder to the sizes and statistics of the driver that learns."""
    raw = read_json(folder / "config.json")
    raw |= PIXELS
    raw["expert_cfg"] = {"hidden_size": 96, "intermediate_size": 256}
    raw["action_in_proj_cfg"] |= {"hidden_size": 96}
    raw["diffusion_cfg"] |= {"num_inference_steps": 10}
    raw["action_space_cfg"] |= ACTION_STD
    raw["traj_tokenizer_cfg"]["action_space_cfg"] |= ACTION_STD
    write_json(folder / "config.json", raw)
    base = read_json(folder / "vlm" / "config.json")
    base["text_config"] |= {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4}
    base["text_config"] |= {"num_attention_heads": 6, "num_key_value_heads": 3}
    base["text_config"].pop("layer_types", None)
    base["vision_config"] |= {"depth": 4, "hidden_size": 96, "intermediate_size": 256, "num_heads": 3}
    base["vision_config"] |= {"out_hidden_size": 96}
    write_json(folder / "vlm" / "config.json", base)
    path = folder / "vlm" / "preprocessor_config.json"
    size = {"shortest_edge": PIXELS["min_pixels"], "longest_edge": PIXELS["max_pixels"]}
    write_json(path, read_json(path) | {"size": size})


def network_of(folder: Path) -> AlpamayoNetwork:
    """A fresh network of the sizes that a folder states."""
    return AlpamayoNetwork(read_config(folder), AutoConfig.from_pretrained(folder / "vlm", local_files_only=True))
