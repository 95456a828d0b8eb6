"""What caching latents and text embeddings saves in LoRA training: steps per second without and with, and the ratio.

    python benchmarks/lora_cache.py                                        # tiny model, CPU
    python benchmarks/lora_cache.py --flux-fill checkpoints/FLUX.1-Fill-dev --device cuda --dtype bfloat16
    python benchmarks/lora_cache.py --full-size true --height 1024 --width 1024 --device cuda --dtype bfloat16

`--full-size` builds FLUX.1-Fill, T5-XXL, CLIP-L and the autoencoder at their real sizes with random weights, which take
as long and as much memory as trained ones. Pictures are random; a step is one row, forward, backward and optimizer.
"""

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from relane import cli

FLUX_FILL_DEV = {
    "in_channels": 384,
    "out_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
}
PROMPT = "road with double yellow solid lane markings"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--flux-fill", type=Path, help="folder of FLUX.1-Fill; without it a tiny random one is built")
    add("--full-size", type=cli.true_or_false, default=False, help="real sizes, random weights")
    add("--height", type=int, default=128)
    add("--width", type=int, default=192)
    add("--rank", type=int, default=128)
    add("--rows", type=int, default=8)
    add("--steps", type=int, default=20, help="measured steps, after three that are not")
    add("--max-sequence-length", type=int, default=512)
    add("--gradient-checkpointing", type=cli.true_or_false, default=True)
    add("--device", default="cpu")
    add("--dtype", default="float32", choices=("float32", "bfloat16"))
    return options


def full_size_parts(device, dtype):
    """(pipeline without transformer, transformer) of FLUX.1-Fill's sizes, random weights, on the device."""
    import torch
    from diffusers import AutoencoderKL, FluxFillPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    from relane.tiny import flux_fill, text

    t5 = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )
    clip = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
    )
    torch.set_default_dtype(dtype)
    with torch.device(device):
        transformer = FluxTransformer2DModel(**FLUX_FILL_DEV)
        encoders = {"text_encoder": CLIPTextModel(clip).eval(), "text_encoder_2": T5EncoderModel(t5).eval()}
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
            scaling_factor=0.3611,
            shift_factor=0.1159,
        ).eval()
    torch.set_default_dtype(torch.float32)
    tokenizers = {"tokenizer": text.clip_tokenizer(), "tokenizer_2": text.t5_tokenizer()}
    pipe = FluxFillPipeline(scheduler=flux_fill.scheduler(), vae=vae, transformer=None, **encoders, **tokenizers)
    return pipe, transformer


def parts_of(args, device, dtype):
    """(pipeline without transformer, transformer) of the folder, or of a tiny one."""
    from relane import tiny
    from relane.lora.cache import load_part

    if args.full_size:
        return full_size_parts(device, dtype)
    with tempfile.TemporaryDirectory(prefix="relane-bench-") as folder:
        source = args.flux_fill or tiny.build("flux_fill", Path(folder) / "flux_fill")
        return load_part(source, "encoders", dtype).to(device), load_part(source, "transformer", dtype).to(device)


def measure(args, step, device) -> float:
    """Steps per second of `step(n)`, after three steps of warming up."""
    import torch

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    for number in range(3):
        step(number)
    wait()
    started = time.perf_counter()
    for number in range(args.steps):
        step(number)
    wait()
    return args.steps / (time.perf_counter() - started)


class Bench:
    """A transformer with its adapter, the encoders beside it, and random pictures to train on."""

    def __init__(self, args: argparse.Namespace):
        import numpy as np
        import torch

        from relane.lora import adapter

        self.args, self.device, self.dtype = args, torch.device(args.device), getattr(torch, args.dtype)
        self.pipe, self.transformer = parts_of(args, self.device, self.dtype)
        self.scheduler = self.pipe.scheduler
        parameters = adapter.add(self.transformer, args.rank, args.rank, seed=0)
        self.size = adapter.size(self.transformer)
        self.transformer.train()
        if args.gradient_checkpointing:
            self.transformer.enable_gradient_checkpointing()
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-5)
        self.pictures = np.random.default_rng(0).integers(0, 256, (args.rows, args.height, args.width, 3), np.uint8)
        self.mask = np.arange(args.height)[:, None].repeat(args.width, 1) > args.height // 2

    def encode(self, number: int) -> tuple[dict, dict]:
        """What the cache would hold of a row: its picture's tensors and its texts'."""
        from relane.lora import cache

        texts = cache.encode_texts(self.pipe, (PROMPT, PROMPT), self.args.max_sequence_length)
        return cache.encode_picture(self.pipe, self.pictures[number % self.args.rows], self.mask, number), texts

    def train(self, encoded: tuple[dict, dict], number: int) -> None:
        """One step on an encoded row."""
        import torch

        from relane.lora import cache, flow

        row = cache.decoded(*encoded)
        draw = flow.draw(row.latents.shape, 0.0, 1.0, number)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            loss = flow.loss(self.transformer, self.scheduler, [row], [draw], 30.0, 1.0, self.device, self.dtype)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def free_encoders(self) -> None:
        """Drop VAE and text encoders, as the training does before its first step."""
        import torch

        self.pipe = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def report(self, name: str, speed: float) -> None:
        """Print a line: speed and, on a GPU, the most memory held since the last line."""
        import torch

        memory = ""
        if self.device.type == "cuda":
            memory = f", peak GPU memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
        print(f"{name}: {speed:.3f} steps/s ({1 / speed:.3f} s a step){memory}", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Measure both ways and print."""
    args = parser().parse_args(argv)
    import diffusers
    import transformers
    from safetensors.torch import load_file, save_file

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    bench = Bench(args)
    tensors, size = bench.size
    print(f"{args.width}x{args.height}, LoRA of rank {args.rank}: {tensors} tensors, {size:,} parameters, {args.dtype}")
    uncached = measure(args, lambda n: bench.train(bench.encode(n), n), bench.device)
    bench.report("uncached", uncached)
    with tempfile.TemporaryDirectory(prefix="relane-bench-") as folder:
        files = [Path(folder) / f"{number}.safetensors" for number in range(args.rows)]
        for number, file in enumerate(files):
            picture, texts = bench.encode(number)  # as in training, the few prompts stay in memory
            save_file({name: tensor.contiguous() for name, tensor in picture.items()}, file)
        bench.free_encoders()
        cached = measure(args, lambda n: bench.train((load_file(files[n % args.rows]), texts), n), bench.device)
    bench.report("cached", cached)
    print(f"ratio: {cached / uncached:.2f}")


if __name__ == "__main__":
    cli.run(main)
