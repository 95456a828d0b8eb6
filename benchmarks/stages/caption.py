"""Captions and critic: Qwen2.5-VL-7B on frames of 1280x720, one by one and in batches."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoProcessor, GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from relane.io.files import read_json, write_json
from relane.models import windows_attention
from relane.models.qwen import Qwen
from relane.prompts import captions, critic
from relane.prompts.lanes import Attributes
from stages.build import RESOURCES, count, on_device
from stages.measure import Bench

# config.json of Qwen/Qwen2.5-VL-7B-Instruct.
TEXT = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128000,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}
VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
PIXELS = {"min_pixels": 3136, "max_pixels": 12_845_056}
# A reply that names the markings has about 30 tokens; the networks here never end one themselves.
WORDS = 32


def run(bench: Bench) -> None:
    """Captions one by one by stock transformers, and by our own in batches; the critic's replies likewise."""
    qwen = build(bench)
    draw = np.random.default_rng(0)
    size = (*bench.pick((720, 1280), (60, 100)), 3)
    frames = [draw.integers(0, 256, size, np.uint8) for _ in range(bench.pick(16, 4))]
    words = bench.pick(WORDS, 4)
    each = [([frame], captions.QUESTION) for frame in frames]
    baseline = "transformers' generate, one a call"
    qwen.model.model.visual.config._attn_implementation = "sdpa"
    alone = bench.time(lambda: [generate(qwen, *question, words) for question in each[:2]]).each(2)
    note = f"{count(qwen.model)} parameters, {words} tokens a reply, prompt of {prompt_length(qwen, each[0])} tokens"
    bench.row("caption", "reply", alone, setting=baseline, note=note, memory="low")
    windows_attention.use(qwen.model.model.visual)
    for batch in bench.pick((8, 16), (2, 4)):
        asked: list[int] = []

        def captioned(batch: int = batch, asked: list[int] = asked) -> None:
            found = captions.caption(qwen, frames[:batch], batch_size=batch, max_new_tokens=words)
            asked[:] = [sum(one.asked for one in found)]

        # A reply that does not parse is asked for twice, and random networks' replies never do.
        measured = bench.time(captioned, repeats=1, count=batch == bench.pick(8, 2))
        how = {"setting": f"captions.caption, {batch} a call", "baseline": baseline, "goal": 4, "memory": "full"}
        bench.row("caption", "reply", measured.each(asked[0]), alone, **how)
    critics(bench, qwen, frames)


def critics(bench: Bench, qwen: Qwen, frames: list[np.ndarray]) -> None:
    """The critic on pictures of three panels: one try a call, and four tries in one."""
    mask = np.zeros(frames[0].shape[:2], bool)
    mask[mask.shape[0] // 2 :] = True
    panels = [critic.three_panels(frame, mask, frame) for frame in frames[:4]]
    words = bench.pick(128, 4)

    def judge(pictures: list[np.ndarray]) -> Callable[[], object]:
        prompt = critic.QUESTION.format(instruction="lane double yellow solid", caption=Attributes().prompt())
        questions = [([picture], prompt) for picture in pictures]
        keys = [("benchmark", number) for number in range(len(questions))]
        return lambda: qwen.ask(questions, max_new_tokens=words, temperature=0.1, keys=keys)

    one = bench.time(judge(panels[:1]), repeats=1)
    bench.row("verdict", "reply", one, setting="one try a call", note=f"{words} tokens a verdict")
    four = bench.time(judge(panels), repeats=1, count=False).each(len(panels))
    bench.row("verdict", "reply", four, one, setting=f"{len(panels)} tries a call", baseline="one try a call")


def build(bench: Bench) -> Qwen:
    """Our class around a network in memory. The tokenizer is a small one: its texts come out longer, not shorter."""
    small = RESOURCES / "qwen"
    config = Qwen2_5_VLConfig.from_pretrained(small)
    if not bench.tiny:
        own = config.to_dict()
        ends = {key: own["text_config"][key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        ids = {key: value for key, value in own.items() if key.endswith("_token_id")}
        config = Qwen2_5_VLConfig(text_config=TEXT | ends, vision_config=VISION, tie_word_embeddings=False, **ids)
    model = on_device(lambda: Qwen2_5_VLForConditionalGeneration(config), bench.device, bench.dtype)
    padding = config.text_config.pad_token_id
    model.generation_config = GenerationConfig(bos_token_id=padding, eos_token_id=None, pad_token_id=padding)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.json"):
            shutil.copy(small / name, folder)
        pixels = read_json(small / "preprocessor_config.json") | bench.pick(PIXELS, {})
        write_json(Path(folder) / "preprocessor_config.json", pixels)
        processor = AutoProcessor.from_pretrained(folder)
    return Qwen.of(model, processor, str(bench.device))


def generate(qwen: Qwen, images: list[np.ndarray], question: str, words: int) -> str:
    """One reply as the model's page shows it."""
    inputs = stock_inputs(qwen, images, question)
    with torch.inference_mode():
        tokens = qwen.model.generate(**inputs, max_new_tokens=words, do_sample=False)
    return qwen.processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]


def stock_inputs(qwen: Qwen, images: list[np.ndarray], question: str):
    """A question through the processor alone."""
    content = [{"type": "image"}] * len(images) + [{"type": "text", "text": question}]
    chat = [{"role": "user", "content": content}]
    words = qwen.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    inputs = qwen.processor(text=[words], images=images, return_tensors="pt").to(qwen.model.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(qwen.model.dtype)
    return inputs


def prompt_length(qwen: Qwen, question: tuple[list[np.ndarray], str]) -> int:
    """Tokens of a question, its picture's included."""
    return stock_inputs(qwen, *question)["input_ids"].shape[1]
