"""Local tokenizers and small text encoders for the tiny checkpoints, in the formats of the released ones.

The vocabularies are built, not trained: every word below is one token and every byte (CLIP, Qwen) or printable
character (T5) has a token of its own, so any text can be written, and each build gives the same bytes.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator

import torch
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

SENTENCES = (
    "road with single double unknown white yellow mixed solid dashed lane markings",
    "change repaint the lanes line lines marking to a an as they are aligned exactly original positions position and",
    "perspective keep texture lighting shadows unchanged asphalt driving scene photo of in on day night car left right",
    "is no not without",
)
WORDS = [word for sentence in SENTENCES for word in sentence.split()]
# The pieces of a JSON answer, and of the chat around it.
JSON_WORDS = ['{"', '":', '",', '"}', "},", "count", "color", "pattern", "seen", "verdict", "PASS", "FAIL", "score"]
CHAT_WORDS = ["notes", "background", "caption", "system", "user", "assistant", "You", "helpful"]
# In the order, and so with the relative ids, of the released Qwen2.5-VL tokenizers.
QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block that draws from torch's global generator (module initialisation) with `seed`, then restore it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def merges_for(words: list[list[str]]) -> list[tuple[str, str]]:
    """Byte-pair merges that make one token of each word (given as its symbols), earlier words first."""
    ranks: dict[tuple[str, str], int] = {}
    for pieces in words:
        while len(pieces) > 1:
            pairs = list(itertools.pairwise(pieces))
            pair = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
            ranks.setdefault(pair, len(ranks))
            merged, rest = [], pieces
            while rest:
                step = 2 if tuple(rest[:2]) == pair else 1
                merged.append("".join(rest[:step]))
                rest = rest[step:]
            pieces = merged
    return list(ranks)


def _vocabulary(symbols: list[str], merges: list[tuple[str, str]], special: tuple[str, ...]) -> dict[str, int]:
    tokens = dict.fromkeys([*symbols, *("".join(pair) for pair in merges), *special])
    return {token: number for number, token in enumerate(tokens)}


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's byte-level BPE with `</w>` word ends, 77 tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = merges_for([[*word[:-1], word[-1] + "</w>"] for word in WORDS])
    symbols = letters + [letter + "</w>" for letter in letters]
    vocab = _vocabulary(symbols, merges, ("<|startoftext|>", "<|endoftext|>"))
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def t5_tokenizer() -> T5TokenizerFast:
    """T5's unigram tokenizer: whole words at -1, single printable ASCII characters at -6."""
    words = [("▁" + word, -1.0) for word in dict.fromkeys(WORDS)]
    characters = [(chr(code), -6.0) for code in range(33, 127)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    extra = [(f"<extra_id_{number}>", 0.0) for number in range(99, -1, -1)]
    return T5TokenizerFast(vocab=[*special, *words, *characters, *extra], model_max_length=512)


def qwen_tokenizer(texts: Iterable[str] = ()) -> Qwen2Tokenizer:
    """Qwen2's byte-level BPE with the special tokens of Qwen2.5-VL.

    Every piece into which Qwen2 splits `texts` before it merges (a word with its blank, a run of punctuation) is one
    token, too.
    """
    words = [*WORDS, *JSON_WORDS, *CHAT_WORDS]
    symbols = [list(word) for word in words] + [["Ġ", *word] for word in words]
    tokenizer = _qwen_tokenizer(symbols)
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    pieces = dict.fromkeys(piece for one in texts for piece, _ in split(one))
    return _qwen_tokenizer(symbols + [list(piece) for piece in pieces]) if pieces else tokenizer


def _qwen_tokenizer(words: list[list[str]]) -> Qwen2Tokenizer:
    letters, merges = sorted(pre_tokenizers.ByteLevel.alphabet()), merges_for(words)
    return Qwen2Tokenizer(
        vocab=_vocabulary(letters, merges, ()),
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[token for token in QWEN_SPECIAL if token not in ("<|im_end|>", "<|endoftext|>")],
        model_max_length=32768,
    )


def clip_text_encoder(tokenizer: CLIPTokenizer, width: int = 64) -> CLIPTextModel:
    """A random two-layer CLIP text encoder whose pooled vector is `width` wide."""
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    # At the default 0.02 the words of a random encoder hardly tell prompts apart.
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)
    return model.eval()


def t5_encoder(tokenizer: T5TokenizerFast, width: int = 64) -> T5EncoderModel:
    """A random two-layer T5 (v1.1) encoder, `width` wide."""
    return T5EncoderModel(
        T5Config(
            vocab_size=-(-len(tokenizer) // 8) * 8,
            d_model=width,
            d_kv=width // 2,
            d_ff=2 * width,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
            tie_word_embeddings=False,
        )
    ).eval()
