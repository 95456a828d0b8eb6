"""The Alpamayo-format driver learns the synthetic driver: words by cross-entropy, actions by flow matching.

x_t = (1 - t) noise + t action, and the expert predicts action - noise (Lipman et al., "Flow Matching for Generative
Modeling", 2023, eq. 23 with sigma_min = 0), over the key-value cache of prompt and reply, as in a rollout.

All data lie on the device, and nothing in a step waits for the CPU: steps of a model this small are bound by launches.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoTokenizer, DynamicCache

from relane.drivers.alpamayo.config import read_config
from relane.drivers.alpamayo.flow import Expert, Prefix
from relane.drivers.alpamayo.networks import AlpamayoNetwork
from relane.drivers.alpamayo.tokens import IMAGE_PAD, PLACEHOLDER, STOP, extend_tokenizer, history_bins, prompt_text
from relane.io.files import read_json, write_json
from simworld.learning import vision
from simworld.learning.drives import SIZE
from simworld.tiny import alpamayo
from simworld.world.rig import FOUR_CAMERAS, FRONT_WIDE

PIXELS = {"min_pixels": 32 * 32 * 2, "max_pixels": 32 * 32 * 30}
FREE, STAY, CHANGE = "keep lane clear road ahead", "slow down follow lead vehicle", "nudge left lead vehicle ahead"
WORDS = (FREE, STAY, CHANGE)
# Of the world's drives: about the deviations of their accelerations (m/s2) and curvatures (1/m).
ACTION_STD = {"accel_std": 0.6, "curvature_std": 0.004}
# Half as many as the release has: 16 mm a step show the road's bend in the history.
HISTORY_BINS = 500
# Paths a scene's prompt is used for in one step: the expert is cheaper than reading sixteen pictures.
FLOWS = 4
GRID = (SIZE[1] // 16, SIZE[0] // 16)
TOKENS = GRID[0] * GRID[1] // 4  # of one picture
_WIDE = FOUR_CAMERAS.index(FRONT_WIDE)


def prepare(folder: Path, seed: int) -> AlpamayoNetwork:
    """Write config, tokenizer and processor of the driver that learns; returns a fresh network of these sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    alpamayo.describe(folder)
    raw = read_json(folder / "config.json") | PIXELS
    bins = raw["traj_vocab_size"] - alpamayo.HISTORY_BINS + HISTORY_BINS
    raw |= {"vocab_size": raw["vocab_size"] - raw["traj_vocab_size"] + bins, "traj_vocab_size": bins}
    raw["hist_traj_tokenizer_cfg"] |= {"num_bins": HISTORY_BINS}
    raw["expert_cfg"] = {"hidden_size": 96, "intermediate_size": 256}
    # From 1 down to 0.05 periods in a unit: a normalised action of a few units then has one value each.
    raw["action_in_proj_cfg"] |= {"hidden_size": 96, "num_fourier_feats": 20, "max_freq": 0.05}
    raw["diffusion_cfg"] |= {"num_inference_steps": 10}
    raw["action_space_cfg"] |= ACTION_STD
    raw["traj_tokenizer_cfg"]["action_space_cfg"] |= ACTION_STD
    write_json(folder / "config.json", raw)
    base = read_json(folder / "vlm" / "config.json")
    base["text_config"] |= {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4}
    base["text_config"] |= {"num_attention_heads": 6, "num_key_value_heads": 3}
    base["text_config"].pop("layer_types", None)
    base["vision_config"] |= {"depth": 4, "hidden_size": 96, "intermediate_size": 256, "num_heads": 3}
    base["vision_config"] |= {"out_hidden_size": 96, "deepstack_visual_indexes": []}
    write_json(folder / "vlm" / "config.json", base)
    path = folder / "vlm" / "preprocessor_config.json"
    size = {"shortest_edge": PIXELS["min_pixels"], "longest_edge": PIXELS["max_pixels"]}
    write_json(path, read_json(path) | {"size": size})
    network = AlpamayoNetwork(read_config(folder), AutoConfig.from_pretrained(folder / "vlm", local_files_only=True))
    with torch.no_grad():
        alpamayo.randomise(network, torch.Generator().manual_seed(seed))
        network.action_out_proj.weight *= 0.1  # starts near a velocity of 0
    return network


class Learner(nn.Module):
    """The driver, and a small head that is thrown away: it asks the pictures of the front wide camera for the
    markings, so that its vision learns to see them before the driver has learnt to look there."""

    def __init__(self, network: AlpamayoNetwork) -> None:
        super().__init__()
        self.network = network
        width = network.vlm.config.vision_config.out_hidden_size
        self.marks = nn.Sequential(nn.LayerNorm(width), nn.Flatten(1), nn.Linear(TOKENS * width, 4))


class Data:
    """Moments on a device, and the parts of the prompt that are the same for all."""

    def __init__(self, folder: Path, files: Iterable[Path], network: AlpamayoNetwork, device: torch.device) -> None:
        """folder: as `prepare` writes it; files: as `drives.written` yields them; network: of that folder."""
        self.config, self.device = read_config(folder), device
        tokenizer = AutoTokenizer.from_pretrained(folder / "vlm", local_files_only=True)
        processor = read_json(folder / "vlm" / "preprocessor_config.json")
        self.statistics = [torch.tensor(processor[name], device=device) for name in ("image_mean", "image_std")]
        start = extend_tokenizer(tokenizer, self.config)

        def ids(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False)["input_ids"]

        words = [torch.tensor(ids(f"{text}<|cot_end|>{STOP}")) for text in WORDS]
        self.words = nn.utils.rnn.pad_sequence(words, batch_first=True, padding_value=-100).to(device)
        self.prompt = torch.tensor(ids(prompt_text([TOKENS] * 16, self.config.history_tokens)))
        places = [self.prompt == tokenizer.convert_tokens_to_ids(token) for token in (PLACEHOLDER, IMAGE_PAD)]
        full = torch.cat([self.prompt, torch.zeros(self.words.shape[1], dtype=torch.long)])[None]
        types = torch.zeros_like(full)
        types[0, : len(self.prompt)] = places[1]
        grid = torch.tensor([[1, *GRID]]).repeat(16, 1)
        positions, delta = network.vlm.model.get_rope_index(full, types, image_grid_thw=grid)
        self.positions, self.delta = positions.to(device), delta.to(device)
        self.is_picture = types.bool().to(device)
        self.prompt, self.history_at, self.pictures_at = (
            x.to(device) for x in (self.prompt, places[0].nonzero()[:, 0], places[1].nonzero()[:, 0])
        )
        self._load(files, start + self.config.future_bins)

    def _load(self, files: Iterable[Path], first_bin: int) -> None:
        parts: dict[str, list[torch.Tensor]] = {}
        for file in files:
            with np.load(file) as values:
                found = {name: values[name] for name in ("wide", "rest", "actions", "marks", "acts")}
                found["bins"] = history_bins(values["history"], self.config.history_bins) + first_bin
            for name, value in found.items():
                parts.setdefault(name, []).append(torch.from_numpy(value).to(self.device))
        self.wide, self.rest, self.actions, self.marks, self.acts, self.bins = (
            torch.cat(parts.pop(name)) for name in ("wide", "rest", "actions", "marks", "acts", "bins")
        )
        mean = torch.tensor([self.config.accel_mean, self.config.curvature_mean], device=self.device)
        std = torch.tensor([self.config.accel_std, self.config.curvature_std], device=self.device)
        self.actions = (self.actions - mean) / std

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Moments (count,) and paintings (count,)."""
        moment = torch.randint(len(self.wide), (count,), device=self.device)
        return moment, torch.randint(self.wide.shape[1], (count,), device=self.device)

    def crosses(self, moment: torch.Tensor, painting: torch.Tensor) -> torch.Tensor:
        """Whether the line may be crossed, (count,) bool: single and dashed."""
        marks = self.marks[moment, painting]
        return marks[:, 2] & ~marks[:, 0]

    def pictures(self, moment: torch.Tensor, painting: torch.Tensor, vary: bool = True) -> torch.Tensor:
        """pixel_values of the chosen moments and paintings, (count x 16 x patches, values)."""
        wide = self.wide[moment, painting].float()
        rest = self.rest[moment].float()
        if vary:
            other = self.wide[moment, torch.randint_like(painting, self.wide.shape[1])].float()
            wide = varied(wide, other)
            rest = rest * self._each(rest, 1, 0.06) + self._each(rest, 0, 4)
        images = torch.cat([rest[:, :_WIDE], wide[:, None], rest[:, _WIDE:]], 1).clamp(0, 255)
        return vision.patches(images.flatten(0, 2), 16, *self.statistics)

    def _each(self, images: torch.Tensor, mean: float, spread: float) -> torch.Tensor:
        return mean + spread * torch.randn((len(images),) + (1,) * (images.dim() - 1), device=self.device)


def varied(images: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """What codecs and editors do to pictures (N, 4, H, W, 3) float 0..255, each clip in its own measure.

    Rests of another painting of the same moment (`other`), softness, colours blurred, faded or tinted, light, grain
    and blotches that flicker.
    """
    count, frames, height, width, _ = images.shape
    device = images.device

    def some(chance: float, most: float, least: float = 0.0) -> torch.Tensor:
        u = least + (most - least) * torch.rand(count, 1, 1, 1, device=device)
        return (u * (torch.rand_like(u) < chance)).repeat_interleave(frames, 0)

    x = images.flatten(0, 1).permute(0, 3, 1, 2)
    x = torch.lerp(x, other.flatten(0, 1).permute(0, 3, 1, 2), some(0.4, 0.3))
    for chance in (0.5, 0.3):
        soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        x = torch.lerp(x, soft, some(chance, 1.0))
    grey = x.mean(1, keepdim=True)
    colour = x - grey
    coarse = F.avg_pool2d(F.pad(colour, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = grey + torch.lerp(colour, coarse, some(0.7, 1.0)) * (1 - some(0.3, 1.0, -0.3))
    tint = torch.randn(count, 3, 1, 1, device=device).repeat_interleave(frames, 0)
    x = x * (1 + 0.08 * some(1, 1, -1) + 0.02 * tint) + some(1, 10, -10)
    blotches = torch.randn(len(x), 3, height // 8, width // 8, device=device)
    x = x + some(0.5, 6) * F.interpolate(blotches, size=(height, width), mode="bilinear", align_corners=False)
    x = x + some(0.7, 6) * torch.randn_like(x)
    return x.permute(0, 2, 3, 1).view_as(images)


def read(network: AlpamayoNetwork, data: Data, ids: torch.Tensor, pixels: torch.Tensor, eyes: vision.OneSize):
    """Read prompts and replies `ids` (B, L): the language model's states (B, L, C), its cache, and the pictures'
    tokens (B, 16, 28, C). The same as the model's own forward pass, without its look-ups by value."""
    model = network.vlm.model
    with eyes:
        seen = model.visual(pixels, grid_thw=torch.tensor([[1, *GRID]]).repeat(16 * len(ids), 1), return_dict=True)
    embedded = model.get_input_embeddings()(ids)
    tokens = seen.pooler_output
    embedded = embedded.index_copy(1, data.pictures_at, tokens.view(len(ids), -1, tokens.shape[-1]).to(embedded.dtype))
    cache = DynamicCache(config=network.vlm.config.text_config)
    out = model.language_model(
        inputs_embeds=embedded,
        position_ids=data.positions.expand(3, len(ids), -1),
        past_key_values=cache,
        use_cache=True,
        visual_pos_masks=data.is_picture.expand(len(ids), -1),
        deepstack_visual_embeds=seen.deepstack_features,
    )
    return out.last_hidden_state, cache, tokens.view(len(ids), 16, TOKENS, -1)


def loss(learner: Learner, data: Data, eyes: vision.OneSize, batch: int, autocast) -> tuple[torch.Tensor, dict]:
    """Loss of a batch drawn at random, and figures."""
    network = learner.network
    moment, painting = data.draw(batch)
    crosses, acts = data.crosses(moment, painting), data.acts[moment]
    true = acts.long() * (1 + crosses.long())
    # Half of the time the reply is any reply: the path must follow from what is seen, whatever was said.
    fed = torch.where(torch.rand(batch, device=data.device) < 0.5, true, torch.randint_like(true, len(WORDS)))
    reply, wanted = data.words[fed], data.words[fed]
    wanted = torch.cat([data.words[true][:, :1], wanted[:, 1:]], 1)
    prompt = data.prompt.repeat(batch, 1).index_copy(1, data.history_at, data.bins[moment])
    with torch.no_grad():
        pixels = data.pictures(moment, painting)
    with autocast:
        states, cache, tokens = read(network, data, torch.cat([prompt, reply.clamp(min=0)], 1), pixels, eyes)
        logits = network.vlm.lm_head(states[:, prompt.shape[1] - 1 : -1]).float()
        said = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100, reduction="none")
        said = said.view(batch, -1)
        told = data.marks[moment, painting].float()
        told = torch.cat([told, acts[:, None].float()], 1)
        seen = learner.marks(tokens[:, 4 * _WIDE : 4 * _WIDE + 4].mean(1)).float()
        marks = F.binary_cross_entropy_with_logits(seen, told)
        flow, bend = flow_loss(network, data, cache, prompt.shape[1] + (reply >= 0).sum(1), moment, crosses)
    total = flow + 0.05 * bend + 0.3 * said[:, 0].mean() + 0.1 * said[:, 1:].mean() + 0.3 * marks
    with torch.no_grad():
        decided = acts.float()
        right = (logits[:, 0].argmax(-1) == wanted[:, 0]).float()
        figures = {"flow": flow, "bend": bend, "said": said.mean(), "marks": marks}
        figures["right"] = (right * decided).sum() / decided.sum().clamp(min=1)
        figures["dashed"] = ((seen[:, 2] > 0) == (told[:, 2] > 0)).float().mean()
    return total, {name: value.detach() for name, value in figures.items()}


def flow_loss(network, data: Data, cache: DynamicCache, end: torch.Tensor, moment: torch.Tensor, crosses: torch.Tensor):
    """Mean squared error of the velocity, and of its running sum over waypoints: small errors of one sign bend a path
    more than large ones that cancel. end (B,): where each row's reply ends in the cache."""
    cache.batch_repeat_interleave(FLOWS)
    action = data.actions[moment, crosses.long()].repeat_interleave(FLOWS, 0)
    start = torch.randn_like(action)
    t = torch.rand(len(action), device=data.device)
    x = torch.lerp(start, action, t[:, None, None])
    prefix = Prefix(cache, end.repeat_interleave(FLOWS), data.delta.expand(len(action), 1))
    velocity = Expert(network, prefix, data.config.n_waypoints).velocity(x, t)
    error = velocity - (action - start)
    return error.square().mean(), (error.cumsum(1) / error.shape[1] ** 0.5).square().mean()


def halve(network: AlpamayoNetwork) -> None:
    """Weights to float16. Frequencies and the actions' statistics stay as they are: they need more bits."""
    for parameter in network.parameters():
        parameter.data = parameter.data.half()
