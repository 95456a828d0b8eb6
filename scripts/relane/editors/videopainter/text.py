"""Prompt embeddings: T5 is loaded, reads the prompts that are not cached yet, and is dropped again."""

import gc
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from relane.errors import InputError
from relane.io.tensor_cache import TensorFolder
from relane.io.weights_digest import weights_digest
from relane.models.finite import check_finite, check_weights

# T5's padding and end of text.
PAD, END = 0, 1


def prompt_embeddings(
    cogvideox: str | Path,
    texts: list[str],
    max_length: int,
    device: torch.device,
    dtype: torch.dtype,
    cache: TensorFolder | None = None,
) -> list[torch.Tensor]:
    """T5 embeddings of each text, (1, max_length, width) in `dtype` on the CPU.

    `cache`: one entry a text and checkpoint. T5 is not loaded when every text is cached, and never stays in memory.
    """
    paths = [cache_file(cache, cogvideox, text, max_length, dtype) if cache else None for text in texts]
    found = [cache.read(path) if cache else None for path in paths]
    absent = [text for text, embedding in zip(texts, found, strict=True) if embedding is None]
    made = dict(zip(absent, _encode(Path(cogvideox), absent, max_length, device, dtype), strict=True)) if absent else {}
    for text, path in zip(texts, paths, strict=True):
        if cache and text in made:
            cache.write(path, made[text], {"text": text})
    return [made[text] if embedding is None else embedding for text, embedding in zip(texts, found, strict=True)]


def cache_file(cache: TensorFolder, cogvideox: str | Path, text: str, max_length: int, dtype: torch.dtype) -> Path:
    """The file of one text's embedding: keyed by the text and by the content of text encoder and tokenizer."""
    folder = Path(cogvideox)
    checkpoint = (weights_digest(folder / "text_encoder"), weights_digest(folder / "tokenizer"))
    return cache.path(text, *checkpoint, max_length, dtype)


def _tokenizer(folder: Path) -> Callable[[str], list[int]]:
    """From a text to T5's token ids, the end token included.

    The released folder holds only a SentencePiece model; it is read by SentencePiece itself, because transformers
    converts it through protobuf code that must match the installed protobuf's major version.
    """
    if (folder / "tokenizer.json").is_file():
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return lambda text: tokenizer(text).input_ids
    if not (folder / "spiece.model").is_file():
        raise InputError(f"{folder}: neither tokenizer.json nor spiece.model in it; fetch the checkpoint again")
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(folder / "spiece.model"))
    return lambda text: [*model.encode(text), END]


def _encode(
    folder: Path, texts: list[str], max_length: int, device: torch.device, dtype: torch.dtype
) -> list[torch.Tensor]:
    from transformers import T5EncoderModel

    for part in ("tokenizer", "text_encoder"):
        if not (folder / part).is_dir():
            raise InputError(f"{folder}: no {part}/ folder; is it a whole CogVideoX-5b-I2V checkpoint?")
    tokens_of = _tokenizer(folder / "tokenizer")
    encoder, info = T5EncoderModel.from_pretrained(
        folder / "text_encoder", dtype=dtype, local_files_only=True, output_loading_info=True
    )
    if info["missing_keys"]:
        first = sorted(info["missing_keys"])[0]
        raise InputError(f"{folder / 'text_encoder'}: tensor {first} is missing; fetch the checkpoint again")
    check_weights(encoder, folder / "text_encoder")
    encoder = encoder.eval().to(device)
    embeddings = []
    with torch.no_grad():
        for text in texts:
            ids = tokens_of(text)
            if len(ids) > max_length:
                logging.getLogger(__name__).warning("prompt cut from %d to %d tokens: %s", len(ids), max_length, text)
                ids = [*ids[: max_length - 1], END]
            # One text at a time, padded, without an attention mask: what CogVideoX was trained with.
            padded = torch.tensor([ids + [PAD] * (max_length - len(ids))])
            embeddings.append(encoder(padded.to(device))[0].to("cpu", dtype).contiguous())
            check_finite(embeddings[-1], "embedding of the prompt", folder / "text_encoder", dtype)
    del encoder
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return embeddings
