"""Qwen2.5-VL on stock transformers: pictures and questions in, replies out, in batches, reproducibly."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import (
    AutoProcessor,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    Qwen2_5_VLForConditionalGeneration,
)

from relane import noise
from relane.errors import InputError, first_line
from relane.io.files import read_json
from relane.models import windows_attention
from relane.models.finite import check_finite, check_tensors, origin

# A question: the pictures in the order shown, each (H, W, 3) uint8 RGB, and the text below them.
Question = tuple[list[np.ndarray], str]


class Ask(Protocol):
    """What captions and critic need of a model: questions in, one reply each out. `Qwen.ask` is one."""

    def __call__(
        self, questions: list[Question], *, max_new_tokens: int, temperature: float, keys: list[Any]
    ) -> list[str]: ...


class KeyedSampling(LogitsProcessor):
    """Sampling at a temperature by the Gumbel-max trick, each row from a generator of its own.

    argmax(logits / temperature + Gumbel noise) is a draw from softmax(logits / temperature) (Gumbel 1954; Maddison
    et al. 2014, "A* sampling"). The noise of a row depends on its key alone, so its reply does not depend on what
    else is in the batch, as it would with one multinomial draw for all rows.
    """

    def __init__(self, temperature: float, keys: list[Any]) -> None:
        self.temperature = temperature
        self.generators = [noise.generator(key, "tokens") for key in keys]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, vocabulary) -> perturbed scores of the same shape, float32."""
        # Drawn on the CPU in float64, away from 0: the same noise on every device, and no infinities.
        draws = [torch.rand(scores.shape[1], generator=one, dtype=torch.float64) for one in self.generators]
        gumbel = -torch.log(-torch.log(torch.stack(draws).clamp_(1e-300, 1 - 1e-16)))
        return scores.float() / self.temperature + gumbel.to(scores.device, torch.float32)


class FiniteLogits(LogitsProcessor):
    """Lets logits pass as they are, and stops at the first token for which one is NaN or infinite."""

    def __init__(self, checkpoint: str | Path, dtype: torch.dtype) -> None:
        self.checkpoint, self.dtype = checkpoint, dtype

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, vocabulary), the same out. Raises InputError that names the checkpoint and the dtype."""
        check_finite(scores, "logits of the next token", self.checkpoint, self.dtype)
        return scores


class Qwen:
    """A Qwen2.5-VL folder (3B, 7B, 72B or tiny), loaded from disk alone."""

    def __init__(self, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        """Load onto `device`; the device `all` spreads the layers over every visible GPU (for 72B).

        Raises InputError when the folder is missing, incomplete, damaged, or another architecture, and for weights that
        are NaN, infinite or absurd.
        """
        self.folder = Path(folder)
        check_folder(self.folder)
        place = {"device_map": "auto"} if device == "all" else {}
        try:
            self.processor = AutoProcessor.from_pretrained(self.folder, local_files_only=True)
            self.model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(
                self.folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **place,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{self.folder}: does not load as Qwen2.5-VL: {first_line(error)}") from None
        if info["missing_keys"]:
            missing = sorted(info["missing_keys"])
            raise InputError(
                f"{self.folder}: the weights lack {len(missing)} tensors, the first is {missing[0]}; fetch them again"
            )
        if device != "all":
            self.model.to(device)
        # Of a model that is spread over devices, parts may wait on disk: they have no numbers here.
        here = {name: one.detach() for name, one in self.model.named_parameters() if not one.is_meta}
        check_tensors(here, self.folder)
        self._set_up(device)

    @classmethod
    def of(cls, model: Qwen2_5_VLForConditionalGeneration, processor: Any, device: str) -> "Qwen":
        """A network that is in memory on `device` already, and its processor."""
        self = cls.__new__(cls)
        self.folder, self.model, self.processor = Path(), model, processor
        self._set_up(device)
        return self

    def _set_up(self, device: str) -> None:
        self.device = device
        self.model.eval()
        windows_attention.use(self.model.model.visual)
        # The released folders sample with settings of their own; here a reply is greedy or drawn by its key.
        own = self.model.generation_config
        self.model.generation_config = GenerationConfig(
            bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
        )

    def to(self, device: str) -> None:
        """Move the weights, for instance to host memory while another model needs the GPU."""
        self.model.to(device)
        self.device = device

    @torch.inference_mode()
    def ask(
        self,
        questions: list[Question],
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        keys: list[Any] | None = None,
    ) -> list[str]:
        """One reply each, in order, all in one batch (padded on the left).

        Greedy at temperature 0; else sampled, each reply by its own noise key (a value or a tuple), so the reply to
        a question is the same alone and in a batch, up to rounding of the padded arithmetic. Raises InputError when the
        network gives NaN or infinite logits.
        """
        if not questions:
            return []
        texts = [self._chat(len(images), prompt) for images, prompt in questions]
        inputs = self.processor(
            text=texts,
            images=[list(images) for images, _ in questions],
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self.model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        processors = LogitsProcessorList([FiniteLogits(origin(self.model), self.model.dtype)])
        if temperature > 0:
            if keys is None or len(keys) != len(questions):
                raise ValueError(f"sampling needs one key a question: {len(questions)} questions, keys {keys}")
            processors.append(KeyedSampling(temperature, keys))
        tokens = self.model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, logits_processor=processors
        )
        return self.processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    def _chat(self, images: int, prompt: str) -> str:
        content = [{"type": "image"}] * images + [{"type": "text", "text": prompt}]
        message = {"role": "user", "content": content}
        return self.processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)


def check_folder(folder: Path) -> None:
    """Raise InputError unless the folder has all files of a Qwen2.5-VL checkpoint; reads no weights."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; config key 'qwen' must name a Qwen2.5-VL checkpoint")
    model_type = read_json(folder / "config.json").get("model_type")
    if model_type != "qwen2_5_vl":
        raise InputError(f"{folder}: config.json says model_type {model_type!r}, expected 'qwen2_5_vl'")
    index = folder / "model.safetensors.index.json"
    weights = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else ["model.safetensors"]
    # Each line: files of which one must be there.
    wanted = [
        ("preprocessor_config.json", "processor_config.json"),
        ("tokenizer.json", "vocab.json"),
        *[(name,) for name in weights],
    ]
    for names in wanted:
        if not any((folder / name).is_file() for name in names):
            raise InputError(f"{folder}: lacks {' or '.join(names)}; fetch the checkpoint again")
