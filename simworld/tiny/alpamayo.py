"""A tiny random driving model in the format of Alpamayo-R1: config.json, sharded safetensors, base model in `vlm/`.

Random, so it drives nowhere sensible; but it reads every pixel, writes short replies that end by themselves, and its
actions are scaled so that paths spread by a few metres. Four cameras with four frames run in about a second on a core.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from torch import nn

from relane.drivers.alpamayo.config import read_config
from relane.drivers.alpamayo.networks import AlpamayoNetwork
from relane.drivers.alpamayo.tokens import STOP, extend_tokenizer
from relane.io.files import atomic_folder, write_json
from simworld.tiny import text

SHARDS = 2
_FUTURE_BINS, HISTORY_BINS = 50, 200
_ORIGINAL = "alpamayo_r1"
# In the order, and so with the relative ids, of the Qwen3-VL tokenizers.
_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_PROMPT = (
    "You are a driving assistant that generates safe and accurate actions output the chain of thought reasoning "
    "process then future trajectory system user"
)
_REPLY = "keep lane follow lead slow down stop yield nudge left right ahead clear road vehicle"
_PIXELS = {"min_pixels": 32 * 32 * 2, "max_pixels": 32 * 32 * 20}

_PREPROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen3VLProcessor",
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "size": {"shortest_edge": _PIXELS["min_pixels"], "longest_edge": _PIXELS["max_pixels"]},
}


def _action_space() -> dict:
    return {
        "_target_": f"{_ORIGINAL}.action_space.UnicycleAccelCurvatureActionSpace",
        "n_waypoints": 64,
        "dt": 0.1,
        "accel_mean": 0.0,
        "accel_std": 0.4,
        "curvature_mean": 0.0,
        "curvature_std": 0.003,
    }


def config(base: int) -> dict:
    """config.json for a base tokenizer of `base` tokens."""
    bins = _FUTURE_BINS + HISTORY_BINS
    return {
        "architectures": ["AlpamayoR1"],
        "model_type": "alpamayo_r1",
        "vlm_name_or_path": "vlm",
        "traj_vocab_size": bins,
        "traj_token_start_idx": base,
        "vocab_size": base + bins + 28,
        "tokens_per_history_traj": 48,
        "tokens_per_future_traj": 128,
        **_PIXELS,
        "model_dtype": "float32",
        "expert_non_causal_attention": True,
        "expert_cfg": {"hidden_size": 32, "intermediate_size": 64},
        "action_space_cfg": _action_space(),
        "action_in_proj_cfg": {
            "_target_": f"{_ORIGINAL}.models.action_in_proj.PerWaypointActionInProjV2",
            "hidden_size": 32,
            "num_enc_layers": 2,
        },
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "diffusion_cfg": {
            "_target_": f"{_ORIGINAL}.diffusion.flow_matching.FlowMatching",
            "num_inference_steps": 5,
        },
        "hist_traj_tokenizer_cfg": {
            "_target_": f"{_ORIGINAL}.models.delta_tokenizer.DeltaTrajectoryTokenizer",
            "num_bins": HISTORY_BINS,
        },
        "traj_tokenizer_cfg": {
            "_target_": f"{_ORIGINAL}.action_space.discrete_action_space.DiscreteTrajectoryTokenizer",
            "_recursive_": False,
            "num_bins": _FUTURE_BINS,
            "dims_min": [-10.0, -10.0],
            "dims_max": [10.0, 10.0],
            "action_space_cfg": _action_space(),
        },
    }


def _vlm_config(tokenizer):
    from transformers import Qwen3VLConfig

    ids = tokenizer.convert_tokens_to_ids
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
            "bos_token_id": ids("<|endoftext|>"),
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def _tokenizer():
    from transformers import Qwen2Tokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = f"{_PROMPT} {_REPLY}".split()
    merges = text.merges_for([list(word) for word in words] + [["Ġ", *word] for word in words])
    tokens = dict.fromkeys([*letters, *("".join(pair) for pair in merges)])
    return Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[token for token in _SPECIAL if token not in ("<|im_end|>", "<|endoftext|>")],
        model_max_length=32768,
    )


def randomise(network: AlpamayoNetwork, generator: torch.Generator) -> None:
    """Weights that keep the size of what passes through: at the usual 0.02 a tiny model would ignore its pictures."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv3d | nn.Embedding):
            fan_in = 1 if isinstance(module, nn.Embedding) else module.weight[0].numel()
            module.weight.normal_(0, fan_in**-0.5, generator=generator)
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()


def _speak(network: AlpamayoNetwork, tokenizer) -> None:
    """Make replies of a few driving words that end by themselves.

    The head has no bias; three channels of the residual stream that no layer writes to stand in for one. Channel 0
    is the same for every token: through it the head favours words and, now and then, the end of the reasoning.
    Channel 1 marks that end: after it the path's opening token follows. Channel 2 marks the start: first a word.
    """
    ids = tokenizer.convert_tokens_to_ids
    language = network.vlm.model.language_model
    for layer in language.layers:
        layer.self_attn.o_proj.weight[:3] = 0
        layer.mlp.down_proj.weight[:3] = 0
    embedding, head = language.embed_tokens.weight, network.vlm.lm_head.weight
    embedding[:, 0], embedding[:, 1:3] = 2.0, 0.0
    embedding[ids("<|cot_end|>"), 1] = 8.0
    embedding[ids("<|cot_start|>"), 2] = 8.0
    head[:, 0], head[:, 1:3] = -10.0, 0.0
    for word in _REPLY.split():
        head[ids("Ġ" + word), 0] = 2.0
        head[ids("Ġ" + word), 3:] *= 0.5  # so that no word always wins
    head[ids("<|cot_end|>"), 0] = 2.2
    head[ids("<|cot_end|>"), 2] = -20.0
    head[ids(STOP), 1] = 20.0


def save_shards(network: AlpamayoNetwork, folder: Path) -> None:
    """Write the tensors, in the types that they have, as safetensors shards with their index."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    names = list(tensors)
    size = -(-len(names) // SHARDS)
    weight_map = {}
    for number in range(SHARDS):
        file = f"model-{number + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = names[number * size : (number + 1) * size]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def describe(folder: Path) -> tuple:
    """Write everything but the weights; returns the base tokenizer and the base model's config."""
    tokenizer = _tokenizer()
    vlm_config = _vlm_config(tokenizer)
    write_json(folder / "config.json", config(len(tokenizer)))
    tokenizer.save_pretrained(folder / "vlm")
    vlm_config.save_pretrained(folder / "vlm")
    write_json(folder / "vlm" / "preprocessor_config.json", _PREPROCESSOR)
    return tokenizer, vlm_config


def build(folder: Path, seed: int = 0) -> None:
    """Write the folder in float32 safetensors (about 1 MB; the same seed gives the same bytes)."""
    with atomic_folder(folder) as partial:
        tokenizer, vlm_config = describe(partial)
        policy = read_config(partial)
        extend_tokenizer(tokenizer, policy)
        with text.seeded(seed), torch.no_grad():
            network = AlpamayoNetwork(policy, vlm_config)
            randomise(network, torch.Generator().manual_seed(seed))
            _speak(network, tokenizer)
        save_shards(network, partial)
