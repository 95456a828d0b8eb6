"""Prompt embeddings are those of the stock pipeline, and are computed once for a text and a checkpoint."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from relane.editors.videopainter import text
from relane.editors.videopainter.text import cache_file, prompt_embeddings
from relane.errors import InputError
from relane.io.tensor_cache import TensorFolder

CPU = torch.device("cpu")
PROMPT = "road with single white dashed lane markings"


def embed(folder, texts, cache=None):
    return prompt_embeddings(folder, texts, 32, CPU, torch.float32, cache and TensorFolder(cache))


def test_embeddings_are_the_stock_pipelines(tiny):
    from diffusers import CogVideoXImageToVideoPipeline

    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(tiny("cogvideox"), local_files_only=True)
    with torch.no_grad():  # with gradients other kernels run
        expected = pipeline.encode_prompt(PROMPT, device=CPU, max_sequence_length=32)
    for ours, theirs in zip(embed(tiny("cogvideox"), [PROMPT, ""]), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_cached_text_does_not_load_the_encoder(tiny, tmp_path, monkeypatch):
    first = embed(tiny("cogvideox"), [PROMPT, ""], tmp_path)
    asked = []
    encode = text._encode
    monkeypatch.setattr(
        text, "_encode", lambda folder, texts, *rest: asked.extend(texts) or encode(folder, texts, *rest)
    )
    again = embed(tiny("cogvideox"), [PROMPT, ""], tmp_path)
    assert asked == []
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    embed(tiny("cogvideox"), ["another road", ""], tmp_path)
    assert asked == ["another road"]


def test_another_checkpoint_is_another_entry(tiny, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny("cogvideox"), other)
    path = other / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors["shared.weight"] += 1
    save_file(tensors, path, {"format": "pt"})
    cache, folders = TensorFolder("c"), (tiny("cogvideox"), other)
    assert len({cache_file(cache, folder, PROMPT, 32, torch.float32) for folder in folders}) == 2


def test_a_folder_without_an_encoder_is_named(tmp_path):
    with pytest.raises(InputError, match="tokenizer"):
        embed(tmp_path, [PROMPT])


def test_an_encoder_with_a_missing_tensor_is_not_filled_with_random_numbers(tiny, tmp_path):
    folder = tmp_path / "cogvideox"
    shutil.copytree(tiny("cogvideox"), folder)
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.final_layer_norm.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(InputError, match=r"encoder\.final_layer_norm\.weight is missing"):
        embed(folder, [PROMPT])


def test_a_released_folder_with_only_a_sentencepiece_model_serves(tmp_path):
    import sentencepiece

    lines = ["road with double yellow solid lane markings", "white dashed lines on a street"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(tmp_path / "spiece"), vocab_size=30, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    ids = text._tokenizer(tmp_path)("road with  double lines")
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    assert ids[-1] == 1
    assert model.decode(ids[:-1]) == "road with double lines"


def test_a_long_prompt_is_cut_and_keeps_its_end_token(tiny, monkeypatch):
    seen = []
    tokenizer = text._tokenizer
    monkeypatch.setattr(
        text, "_tokenizer", lambda folder: lambda words: seen.append(tokenizer(folder)(words)) or seen[-1]
    )
    (long,) = embed(tiny("cogvideox"), ["road " * 50])
    (cut,) = embed(tiny("cogvideox"), ["road " * 31])
    assert len(seen[0]) == 51
    assert torch.equal(long, cut)
