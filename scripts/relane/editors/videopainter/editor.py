"""VideoPainter as an editor (`relane.editors.VideoEditor`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from relane.config.sections.speed import Speed
from relane.editors import Caches, Canvas, Reader, Rng
from relane.editors.videopainter.latent_cache import LatentCache
from relane.editors.videopainter.loading import load_videopainter
from relane.editors.videopainter.options import options_of
from relane.editors.videopainter.pipeline import VideoPainter
from relane.editors.videopainter.text import prompt_embeddings
from relane.errors import InputError
from relane.io.timer import Timer
from relane.io.weights_digest import weights_digest
from relane.models.acceleration import channels_last, speed_up
from relane.models.device import choose_device


@dataclass
class Editor:
    """The models in memory, and the CogVideoX folder that they came from: T5 is read there again for each new text."""

    pipeline: VideoPainter
    cogvideox: Path

    @property
    def device(self) -> torch.device:
        """Where the models work."""
        return self.pipeline.device

    def canvas(self, shape: tuple[int, int, int], options: Mapping[str, Any]) -> Canvas:
        """As `VideoEditor.canvas`. The original resizes inside its own pre-processing, by a filter of its own."""
        chosen = options_of(options)
        schedule = self.pipeline.schedule(shape[0], chosen)
        exact = options["mode"] == "exact"
        return Canvas(self.pipeline.size, schedule.frames, schedule.length, schedule.starts, exact, chosen.model_dump())

    def edit(
        self,
        read: Reader,
        shape: tuple[int, int, int],
        first_frame: np.ndarray,
        prompt: str,
        rng: Rng,
        options: Mapping[str, Any],
        timer: Timer,
        caches: Caches,
    ) -> Iterator[np.ndarray]:
        """As `VideoEditor.edit`. In mode exact all draws come from one generator, one after the other."""
        chosen = options_of(options)
        texts = [prompt, *([options["negative_prompt"]] if chosen.do_classifier_free_guidance else [])]
        transformer = self.pipeline.transformer
        with timer("text"):
            embeddings = prompt_embeddings(
                self.cogvideox,
                texts,
                transformer.config.max_text_seq_length,
                self.device,
                transformer.dtype,
                caches.text,
            )
        single = torch.Generator("cpu").manual_seed(options["seed"])
        yield from self.pipeline.edit(
            read,
            shape[0],
            first_frame,
            embeddings[0],
            embeddings[1] if chosen.do_classifier_free_guidance else None,
            chosen,
            (lambda *purpose: single) if options["mode"] == "exact" else rng,
            timer=timer,
            latent_cache=caches.latents and LatentCache(caches.latents, weights_digest(self.cogvideox / "vae")),
        )


def load_editor(options: Mapping[str, Any]) -> Editor:
    """The editor of these folders: `cogvideox`, `videopainter` and, where it is not blank, `videopainter_id`.

    Other options: id_lora_scale, offload, device, dtype and those of `relane.models.acceleration.Speed`. Raises
    InputError for a folder that does not fit and for what this machine cannot do.
    """
    for name in ("cogvideox", "videopainter"):
        if not options[name]:
            raise InputError(f"--{name} is blank: name the checkpoint's folder")
    pipeline = load_videopainter(
        options["cogvideox"],
        options["videopainter"],
        choose_device(options["device"]),
        getattr(torch, options["dtype"]),
        options["videopainter_id"],
        options["offload"],
        options["id_lora_scale"],
    )
    if options["channels_last"]:
        channels_last(pipeline.vae)
    for network in (pipeline.transformer, pipeline.branch):
        speed_up(network, Speed.of(options), pipeline.device)
    return Editor(pipeline, Path(options["cogvideox"]))
