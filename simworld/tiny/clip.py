"""A tiny random CLIP folder (model, tokenizer, image processor)."""

from pathlib import Path

from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from relane.io.files import atomic_folder
from simworld.tiny import text


def build(folder: Path, seed: int = 0) -> None:
    """Write a CLIPModel of 32 px images and two layers a side in float32 safetensors (under 1 MB)."""
    tokenizer = text.clip_tokenizer()
    shared = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    tokens = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config={**shared, **tokens, "vocab_size": len(tokenizer), "max_position_embeddings": 77},
        vision_config={**shared, "image_size": 32, "patch_size": 8},
        projection_dim=32,
    )
    with text.seeded(seed):
        model = CLIPModel(config).eval()
    image_processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    with atomic_folder(folder) as partial:
        model.save_pretrained(partial)
        CLIPProcessor(image_processor=image_processor, tokenizer=tokenizer).save_pretrained(partial)
