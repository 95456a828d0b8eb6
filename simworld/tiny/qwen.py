"""A tiny random Qwen2.5-VL folder: config, weights, tokenizer, processors, chat template.

It reads pictures and writes tokens through the real classes; being random, it says nothing sensible.
"""

from pathlib import Path

from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from relane.io.files import atomic_folder, write_json
from simworld.tiny import text

# What Qwen2.5-VL's own template makes of text and pictures in a chat without tools.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The keys of the released folders' file. Pictures are scaled to at most 64 tokens each, for a quick answer on a CPU.
PREPROCESSOR = {
    "min_pixels": 28 * 28 * 4,
    "max_pixels": 28 * 28 * 64,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": OPENAI_CLIP_MEAN,
    "image_std": OPENAI_CLIP_STD,
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2_5_VLProcessor",
}


def config(
    tokens: dict[str, int], vocabulary: int, text_config: dict | None = None, vision_config: dict | None = None
) -> Qwen2_5_VLConfig:
    """The configuration of a two-layer model 64 wide; `tokens` maps special tokens to their ids.

    text_config, vision_config: what differs from that.
    """
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            "bos_token_id": tokens["<|endoftext|>"],
            "eos_token_id": tokens["<|im_end|>"],
            "pad_token_id": tokens["<|endoftext|>"],
        }
        | (text_config or {}),
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        }
        | (vision_config or {}),
        image_token_id=tokens["<|image_pad|>"],
        video_token_id=tokens["<|video_pad|>"],
        vision_start_token_id=tokens["<|vision_start|>"],
        vision_end_token_id=tokens["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def special_tokens(tokenizer: Qwen2Tokenizer) -> dict[str, int]:
    """The ids of Qwen2.5-VL's special tokens."""
    return {token: tokenizer.convert_tokens_to_ids(token) for token in text.QWEN_SPECIAL}


def write(
    folder: Path, model: Qwen2_5_VLForConditionalGeneration, tokenizer: Qwen2Tokenizer, preprocessor: dict
) -> None:
    """Write model, tokenizer, image processor settings and chat template as a Qwen2.5-VL folder."""
    tokens = special_tokens(tokenizer)
    end, padding = tokens["<|im_end|>"], tokens["<|endoftext|>"]
    model.generation_config = GenerationConfig(
        bos_token_id=padding, eos_token_id=[end, padding], pad_token_id=padding, do_sample=False
    )
    with atomic_folder(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        write_json(partial / "preprocessor_config.json", preprocessor)
        write_json(partial / "chat_template.json", {"chat_template": CHAT_TEMPLATE})


def build(folder: Path, seed: int = 0) -> None:
    """Write the folder in float32 safetensors (about 1 MB; the same seed gives the same bytes)."""
    tokenizer = text.qwen_tokenizer()
    with text.seeded(seed):
        tokens, vocabulary = special_tokens(tokenizer), -(-len(tokenizer) // 8) * 8
        model = Qwen2_5_VLForConditionalGeneration(config(tokens, vocabulary)).eval()
    write(folder, model, tokenizer, PREPROCESSOR)
