"""The training itself: rows in an order that only the seed decides, steps, checkpoints, and what is kept of them."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from tqdm import tqdm

from relane import noise
from relane.config.sections.lora import Upkeep
from relane.errors import InputError
from relane.models.acceleration import compile_blocks
from relane.training.lora import adapter, checkpoints, flow
from relane.training.lora.cache import Cache, load_part
from relane.training.lora.checkpoints import Moving, Progress
from relane.training.lora.settings import Settings

# Validation is measured at these places of the scheduler's table, from much noise to little.
VALIDATION_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)


def row_at(position: int, rows: int, *key: object) -> int:
    """Which row stands at a position of the endless sequence of epochs, each a permutation of its own.

    A function of the position alone, so a resumed training and one on more GPUs see the same sequence.
    """
    epoch, place = divmod(position, rows)
    return int(torch.randperm(rows, generator=noise.generator(*key, "order", epoch))[place])


def held_out(rows: int, wanted: int, *key: object) -> tuple[list[int], list[int]]:
    """(rows to train on, rows held out for validation): at most one in eight is held out."""
    count = min(wanted, rows // 8)
    order = torch.randperm(rows, generator=noise.generator(*key, "validation")).tolist()
    return sorted(order[count:]), sorted(order[:count])


def make_optimizer(settings: Settings, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW, or its 8-bit form from bitsandbytes. Raises InputError when that library is not installed."""
    if settings.optimizer == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit as AdamW
        except ImportError:
            raise InputError(
                "lora.optimizer: adamw8bit needs the library bitsandbytes, which is not installed; "
                "install it or use adamw"
            ) from None
    else:
        AdamW = torch.optim.AdamW
    return AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def avoid_cudnn_attention() -> None:
    """Let PyTorch choose other kernels for attention in this process: cuDNN's backward fails at FLUX's lengths.

    Seen with torch 2.11 and cuDNN 9.19 on an H200, at 1,862 tokens: "mha_graph.execute" fails, or later something else
    by an illegal memory access.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


class Trainer:
    """One training run of a LoRA on encoded rows.

    After `__init__` the model is loaded and has its adapter; `resume` goes back to a checkpoint; `steps` runs to the
    end, yielding the progress after each optimizer step.
    """

    def __init__(self, cache: Cache, settings: Settings, upkeep: Upkeep, accelerator: Accelerator, progress: Progress):
        self.cache, self.how, self.upkeep = cache, settings, upkeep
        self.accelerator, self.progress = accelerator, progress
        self.dtype = getattr(torch, settings.dtype)
        avoid_cudnn_attention()
        self.train_rows, self.validation_rows = held_out(len(cache), settings.validation_rows, settings.seed)
        self.total = settings.total_steps(len(self.train_rows), accelerator.num_processes)
        self.flow_scheduler = load_part(cache.flux_fill, "scheduler")
        transformer = load_part(cache.flux_fill, "transformer", self.dtype)
        self.parameters = adapter.add(transformer, settings.rank, settings.alpha, settings.seed)
        if upkeep.gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        if upkeep.compile:
            compile_blocks(transformer)
        transformer.train()
        optimizer = make_optimizer(settings, self.parameters)
        self.model, optimizer = accelerator.prepare(transformer, optimizer)
        # Not prepared: Accelerate would step it once a process, and the settings count optimizer steps.
        scheduler = get_scheduler(
            settings.lr_scheduler,
            optimizer,
            num_warmup_steps=settings.lr_warmup_steps,
            num_training_steps=self.total,
        )
        self.moving = Moving(transformer, optimizer, scheduler)

    def resume(self, path: Path) -> None:
        """Go back to a checkpoint. Raises InputError when it does not fit, or lies beyond the last step."""
        self.progress = checkpoints.load(path, self.moving)
        if self.progress.step > self.total:
            raise InputError(f"{path}: is beyond the last step ({self.total}); raise lora.max_train_steps")
        self.progress.resumed_at.append(self.progress.step)

    def _loss(self, model: torch.nn.Module, rows: list[flow.Encoded], draws: list[flow.Draw]) -> torch.Tensor:
        how = self.how
        return flow.loss(
            model,
            self.flow_scheduler,
            rows,
            draws,
            how.guidance_scale,
            how.masked_weight,
            self.accelerator.device,
            self.dtype,
        )

    def _micro_batch(self, number: int) -> tuple[list[flow.Encoded], list[flow.Draw]]:
        how, accelerator = self.how, self.accelerator
        first = (number * accelerator.num_processes + accelerator.process_index) * how.train_batch_size
        rows, draws = [], []
        for position in range(first, first + how.train_batch_size):
            rows.append(self.cache[self.train_rows[row_at(position, len(self.train_rows), how.seed)]])
            key = (how.seed, "noise", position)
            draws.append(flow.draw(rows[-1].latents.shape, how.logit_mean, how.logit_std, *key))
        return rows, draws

    def _step(self) -> dict:
        """One optimizer step: its mean loss over all rows and processes, gradient norm and learning rate."""
        count, losses, norm = self.how.gradient_accumulation_steps, [], 0.0
        for number in range(self.progress.step * count, (self.progress.step + 1) * count):
            with self.accelerator.accumulate(self.model):
                loss = self._loss(self.model, *self._micro_batch(number))
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    norm = self.accelerator.clip_grad_norm_(self.parameters, self.how.max_grad_norm)
                self.moving.optimizer.step()
                self.moving.optimizer.zero_grad()
            losses.append(loss.detach())
        rate = self.moving.scheduler.get_last_lr()[0]
        self.moving.scheduler.step()
        loss = float(self.accelerator.gather(torch.stack(losses)).mean())
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise InputError(
                f"the loss is {loss}, its gradient's norm {float(norm)} at step {self.progress.step + 1}: "
                f"the training has diverged; lower lora.learning_rate (now {self.how.learning_rate}); "
                "checkpoints before this step are whole"
            )
        return {"step": self.progress.step + 1, "loss": loss, "grad_norm": float(norm), "learning_rate": rate}

    def steps(self) -> Iterator[Progress]:
        """Train to the end; after each optimizer step yield the progress, checkpoint written where one is due."""
        bar = tqdm(total=self.total, initial=self.progress.step, desc="training", disable=None)
        while self.progress.step < self.total:
            started = time.perf_counter()
            entry = self._step()
            self.progress.step = entry["step"]
            self.progress.history.append(entry)
            self.progress.seconds += time.perf_counter() - started
            bar.update()
            bar.set_postfix(loss=f"{entry['loss']:.4f}")
            yield self.progress
            self._checkpoint()
        bar.close()

    def _checkpoint(self) -> None:
        upkeep = self.upkeep
        due = self.progress.step % upkeep.checkpointing_steps == 0 or self.progress.step == self.total
        if due and self.accelerator.is_main_process:
            checkpoints.save(self.cache.folder.parent, self.moving, self.progress, upkeep.checkpoints_total_limit)
        if due:
            self.accelerator.wait_for_everyone()

    @torch.no_grad()
    def validate(self) -> float | None:
        """The loss on the rows held out, at fixed noise and levels; None when none are."""
        if not self.validation_rows:
            return None
        total = 0.0
        for number in self.validation_rows:
            row = self.cache[number]
            for place in VALIDATION_PLACES:
                key = (self.how.seed, "validation", self.cache.rows[number].name, place)
                draw = flow.draw(row.latents.shape, 0.0, 1.0, *key)
                # Not the model that several processes share: the others do not validate, and it would wait for them.
                total += float(self._loss(self.moving.transformer, [row], [flow.Draw(draw.noise, place)]))
        return total / (len(self.validation_rows) * len(VALIDATION_PLACES))
