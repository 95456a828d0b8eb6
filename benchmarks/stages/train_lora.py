"""A training step of the LoRA on FLUX.1-Fill-dev: pictures and prompts encoded in every step, or once and kept."""

import gc

import torch
from diffusers import FluxFillPipeline

from relane.models.acceleration import compile_blocks
from relane.training.lora import adapter, cache, flow
from relane.training.lora.settings import Settings
from relane.training.lora.trainer import avoid_cudnn_attention, make_optimizer
from stages.flux import PROMPT, parts, pictures
from stages.measure import Bench, Measured

ROWS = 2
EVERY_STEP = "latents and text of every step made anew"


def run(bench: Bench) -> None:
    """Steps of one row, 720x480: encoded every time; from the cache; from the cache with compiled blocks."""
    train = Training(bench)
    plain = bench.time(lambda: train.step(train.encode()))
    tensors, size = train.size
    note = f"LoRA of rank {train.how.rank}: {tensors} tensors, {size / 1e6:.0f} M parameters"
    bench.row("step", "step", plain, setting=EVERY_STEP, note=note)
    kept = [train.encode() for _ in range(ROWS)]
    train.free_encoders()
    cached = bench.time(lambda: train.step(kept[train.number % ROWS]), repeats=4)
    how = {"setting": "cached latents and text", "baseline": EVERY_STEP, "goal": 1.5, "memory": "full"}
    bench.row("step", "step", cached, plain, **how)
    with bench.step("gradient checkpointing"):
        train.transformer.enable_gradient_checkpointing()
        low = bench.time(lambda: train.step(kept[train.number % ROWS]), repeats=1, count=False)
        setting = "cached, gradient checkpointing"
        bench.row("step", "step", low, plain, setting=setting, baseline=EVERY_STEP, memory="low")
        train.transformer.disable_gradient_checkpointing()
    with bench.step("compiled blocks"):
        compile_blocks(train.transformer, bench.pick("inductor", "eager"))
        fast = bench.time(lambda: train.step(kept[train.number % ROWS]), repeats=4, count=False)
        fast = Measured(fast.seconds, fast.peak, cached.operations)
        setting = "cached latents and text, compiled blocks"
        bench.row("step", "step", fast, plain, setting=setting, baseline=EVERY_STEP, goal=1.5)


class Training:
    """Transformer with its adapter, encoders beside it, and the trainer's own loss and optimizer."""

    def __init__(self, bench: Bench):
        self.bench, self.how, self.number = bench, Settings(rank=bench.pick(128, 4), alpha=bench.pick(128, 4)), 0
        avoid_cudnn_attention()
        networks = parts(bench)
        self.transformer, self.scheduler = networks["transformer"], networks["scheduler"]
        self.pipe = FluxFillPipeline(**{**networks, "transformer": None})
        parameters = adapter.add(self.transformer, self.how.rank, self.how.alpha, seed=0)
        self.size = adapter.size(self.transformer)
        self.transformer.train()
        self.optimizer = make_optimizer(self.how, parameters)
        self.frames, self.mask = pictures(bench, ROWS)

    def encode(self) -> flow.Encoded:
        """A row as the cache would hold it."""
        frame = self.frames[self.number % ROWS]
        texts = cache.encode_texts(self.pipe, (PROMPT, PROMPT), self.how.max_sequence_length)
        return cache.decoded(cache.encode_picture(self.pipe, frame, self.mask, self.number), texts)

    def step(self, row: flow.Encoded) -> None:
        """Forward, backward and optimizer of one row."""
        self.number += 1
        bench, how = self.bench, self.how
        draw = flow.draw(row.latents.shape, how.logit_mean, how.logit_std, self.number)
        with torch.autocast(bench.device.type, dtype=torch.bfloat16, enabled=not bench.tiny):
            loss = flow.loss(
                self.transformer,
                self.scheduler,
                [row],
                [draw],
                how.guidance_scale,
                how.masked_weight,
                bench.device,
                bench.dtype,
            )
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def free_encoders(self) -> None:
        """Drop VAE and text encoders, as the training does before its first step."""
        self.pipe = None
        gc.collect()
        self.bench.forget_peak()
