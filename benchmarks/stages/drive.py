"""The driver: Alpamayo-R1's shape (10 B), 4 cameras of 4 frames of 1920x1080, two arms of a clip, K = 6 paths each."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoTokenizer, Qwen3VLConfig

from relane.drivers.alpamayo.checkpoint import Loaded
from relane.drivers.alpamayo.config import PolicyConfig, read_config
from relane.drivers.alpamayo.networks import AlpamayoNetwork
from relane.drivers.alpamayo.policy import Policy
from relane.drivers.alpamayo.sampling import KeyedNoise
from relane.drivers.alpamayo.tokens import extend_tokenizer
from relane.io.files import read_json, write_json
from relane.models import windows_attention
from stages.build import RESOURCES, count, on_device
from stages.measure import Bench, Measured

SAMPLES = 6
SMALL = RESOURCES / "alpamayo"
# Cosmos-Reason2-8B, which is Qwen3-VL-8B, and the expert that continues its cache.
TEXT = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262144,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}
VISION = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_heads": 16,
    "out_hidden_size": 4096,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}
EXPERT = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 16}
VOCABULARY = 155_697
PIXELS = {"min_pixels": 163_840, "max_pixels": 196_608}


def run(bench: Bench) -> None:
    """One sample at a time, one arm at a time, all in one call; and the stock generation of the words alone."""
    policy = build(bench)
    scene = Scene(bench, policy)
    one = scene.time(lambda: scene.alone(0, 1), 1, count=False)
    size = f"{count(policy.network)} parameters, {scene.words} words a reply, prompt of {scene.length} tokens"
    bench.row("path", "path", one, setting="one sample a call", note=size, memory="low")
    arm = scene.time(lambda: scene.alone(0, SAMPLES), SAMPLES, count=False)
    bench.row("path", "path", arm, one, setting=f"K = {SAMPLES}, one arm a call", baseline="one sample a call")
    both = scene.time(lambda: scene.together(), 2 * SAMPLES)
    setting = f"2 arms, K = {SAMPLES}, one call"
    bench.row("path", "path", both, one, setting=setting, baseline="one sample a call", goal=2, memory="full")
    for what, call in (("call of 2 arms", scene.together), ("call of one path", lambda: [scene.alone(0, 1)])):
        phases = call()[0].seconds
        bench.row(what, "call", Measured(sum(phases.values()), both.peak), setting=spell(phases))
    with bench.step("stock generation"):
        stock(bench, policy, scene, one)


def spell(phases: dict[str, float]) -> str:
    """Seconds of each phase in words."""
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in phases.items())


def build(bench: Bench) -> Policy:
    """The driver's own class around networks in memory. Words come from a small tokenizer, ids from the whole range."""
    tokenizer = AutoTokenizer.from_pretrained(SMALL / "vlm")
    own = read_json(SMALL / "config.json")
    if not bench.tiny:
        own |= {"expert_cfg": EXPERT, **PIXELS}
        own["action_in_proj_cfg"] |= {"hidden_size": 1024, "num_enc_layers": 4, "max_freq": 100.0}
        own["diffusion_cfg"] |= {"num_inference_steps": 10}
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "config.json", own)
        config = read_config(folder)
    size = {"shortest_edge": config.min_pixels, "longest_edge": config.max_pixels}
    processor = AutoImageProcessor.from_pretrained(SMALL / "vlm", backend="torchvision", size=size)
    start = extend_tokenizer(tokenizer, config)
    vlm = vlm_config(bench, config)
    config = dataclasses.replace(config, vocab_size=bench.pick(VOCABULARY, config.vocab_size))
    network = on_device(lambda: AlpamayoNetwork(config, vlm), bench.device, bench.dtype)
    network.requires_grad_(False)
    for module in network.modules():  # as the loader keeps them
        for name, buffer in module.named_buffers(recurse=False):
            if name == "freqs":
                module._buffers[name] = buffer.float()
    return Policy(Loaded(config, network, tokenizer, processor, start), bench.device)


def vlm_config(bench: Bench, config: PolicyConfig) -> Qwen3VLConfig:
    """The VLM's configuration, with the small tokenizer's ids."""
    vlm = Qwen3VLConfig.from_pretrained(SMALL / "vlm")
    if bench.tiny:
        return vlm
    given = vlm.to_dict()
    text = {key: given["text_config"][key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    ids = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return Qwen3VLConfig(
        text_config={**text, **TEXT, "vocab_size": config.vocab_size},
        vision_config={**VISION, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2},
        **{key: given[key] for key in ids},
        tie_word_embeddings=False,
    )


class Scene:
    """A clip of noise in two arms that differ in the second camera, and calls of the policy on it."""

    def __init__(self, bench: Bench, policy: Policy):
        self.bench, self.policy = bench, policy
        self.words = bench.pick(64, 6)
        height, width = bench.pick((1080, 1920), (90, 160))
        draw = np.random.default_rng(0)
        original = [draw.integers(0, 256, (height, width, 3), np.uint8) for _ in range(16)]
        edited = [frame.copy() for frame in original]
        for frame in edited[4:8]:
            frame[height // 2 :] = 255 - frame[height // 2 :]
        self.arms = [original, edited]
        steps = np.arange(-15, 1) * 1.03
        self.history = np.stack([steps, np.zeros(16), np.zeros(16)], axis=1)
        self.upright = np.broadcast_to(np.eye(3), (16, 3, 3))
        self.length = policy.prompt([original], self.history[None]).input_ids.shape[1]

    def alone(self, arm: int, samples: int):
        """One arm in a call of its own."""
        return self.policy.rollout(
            [self.arms[arm]],
            self.history[None],
            self.upright[None],
            KeyedNoise([("clip",)], samples),
            num_samples=samples,
            max_generation_length=self.words,
        )

    def together(self):
        """Both arms in one call."""
        return self.policy.rollout_many(
            self.arms,
            self.history,
            self.upright,
            KeyedNoise([("clip",)] * 2, SAMPLES),
            num_samples=SAMPLES,
            max_generation_length=self.words,
        )

    def time(self, call, paths: int, count: bool = True) -> Measured:
        """Seconds a path."""
        return self.bench.time(call, count=count).each(paths)


def stock(bench: Bench, policy: Policy, scene: Scene, one: Measured) -> None:
    """transformers' own `generate` on the same weights: the words of one reply, no path."""
    prompt = policy.prompt([scene.arms[0]], scene.history[None]).to(bench.device)
    vlm = policy.network.vlm
    vlm.model.visual.config._attn_implementation = "sdpa"

    def generate() -> torch.Tensor:
        return vlm.generate(
            input_ids=prompt.input_ids,
            attention_mask=torch.ones_like(prompt.input_ids),
            mm_token_type_ids=prompt.mm_token_type_ids,
            pixel_values=prompt.pixel_values,
            image_grid_thw=prompt.image_grid_thw,
            do_sample=True,
            top_p=0.98,
            temperature=0.6,
            max_new_tokens=scene.words,
            min_new_tokens=scene.words,
            pad_token_id=policy.vocabulary.pad,
        )

    measured = bench.time(generate)
    bench.row("words of one reply, no path", "reply", measured, setting="transformers' generate, one reply a call")
    windows_attention.use(vlm.model.visual)
    scene.alone(0, 1)
    own = scene.alone(0, 1).seconds["reasoning"]
    bench.row(
        "words of one reply, no path",
        "reply",
        Measured(own, one.peak),
        measured,
        setting="the driver's own loop, one reply a call",
        baseline="transformers' generate",
    )
