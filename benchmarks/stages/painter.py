"""VideoPainter on CogVideoX-5b-I2V: its networks, a clip of noise, and one edit with its steps timed."""

from dataclasses import dataclass, field

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from relane import noise
from relane.editors.videopainter.networks import CogvideoXBranchModel, VideoPainterTransformer, token_mask
from relane.editors.videopainter.options import Options
from relane.editors.videopainter.pipeline import VideoPainter
from relane.io.timer import Timer
from stages.build import on_device
from stages.measure import Bench, Measured

# config.json of THUDM/CogVideoX-5b-I2V's parts.
NETWORK = {
    "num_attention_heads": 48,
    "attention_head_dim": 64,
    "in_channels": 32,
    "out_channels": 16,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
    "max_text_seq_length": 226,
    "use_rotary_positional_embeddings": True,
    "use_learned_positional_embeddings": True,
}
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "snr_shift_scale": 1.0,
    "timestep_spacing": "trailing",
}
VAE = {
    "block_out_channels": (128, 256, 256, 512),
    "latent_channels": 16,
    "layers_per_block": 3,
    "sample_height": 480,
    "sample_width": 720,
    "temporal_compression_ratio": 4,
    "scaling_factor": 0.7,
}
TINY_VAE = VAE | {
    "block_out_channels": (8, 8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_height": 64,
    "sample_width": 96,
}
TINY_NETWORK = NETWORK | {
    "num_attention_heads": 4,
    "attention_head_dim": 16,
    "time_embed_dim": 64,
    "text_embed_dim": 32,
    "sample_width": 12,
    "sample_height": 8,
    "sample_frames": 9,
    "max_text_seq_length": 32,
}


def networks(bench: Bench) -> dict:
    """transformer, branch and vae on the device."""
    config, layers = bench.pick((NETWORK, 42), (TINY_NETWORK, 4))
    vae = bench.pick(VAE, TINY_VAE)
    vae = vae | {f"{way.lower()}_block_types": (f"CogVideoX{way}Block3D",) * 4 for way in ("Down", "Up")}
    make = {
        "transformer": lambda: VideoPainterTransformer(**config, num_layers=layers),
        "branch": lambda: CogvideoXBranchModel(**config, num_layers=2),
        "vae": lambda: AutoencoderKLCogVideoX(**vae),
    }
    return {name: on_device(one, bench.device, bench.dtype) for name, one in make.items()}


def stock_transformer(ours: VideoPainterTransformer) -> CogVideoXTransformer3DModel:
    """The stock class around the same weights."""
    with torch.device("meta"):
        stock = CogVideoXTransformer3DModel(**{k: v for k, v in ours.config.items() if not k.startswith("_")})
    stock.load_state_dict(ours.state_dict(), assign=True)
    return stock.eval()


def texts(bench: Bench) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of the prompt and of the negative prompt, as the editor reads them from its cache."""
    length, width = bench.pick((226, 4096), (32, 32))
    return tuple(torch.randn(1, length, width).to(bench.dtype) for _ in range(2))


class CountingTimer(Timer):
    """A timer that also counts each phase's operations."""

    def __init__(self, device: torch.device):
        super().__init__(device)
        self.operations: dict[str, int] = {}

    def __call__(self, phase: str):
        return _Counting(super().__call__(phase), self.operations, phase)


@dataclass
class _Counting:
    inner: object
    operations: dict
    phase: str
    counter: FlopCounterMode = field(default_factory=lambda: FlopCounterMode(display=False))

    def __enter__(self) -> None:
        self.inner.__enter__()
        self.counter.__enter__()

    def __exit__(self, *exception: object) -> None:
        self.counter.__exit__(*exception)
        self.operations[self.phase] = self.operations.get(self.phase, 0) + self.counter.get_total_flops()
        self.inner.__exit__(*exception)


@dataclass
class Edit:
    """One run of the editor's own loop over a clip of noise with a band of road to repaint."""

    bench: Bench
    models: VideoPainter
    options: Options
    frames: int = 0
    hole: float = 0.0  # share of the tokens, known after a run

    def run(self, timer: Timer) -> list[float]:
        """Paint; the times at which the steps of all windows ended."""
        height, width = self.models.size
        self.frames = self.frames or self.models.window
        draw = np.random.default_rng(0)
        stamps: list[float] = []

        def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            masks = np.zeros((stop - start, height, width), bool)
            masks[:, height // 2 :, width // 4 : -width // 4] = True
            return draw.integers(0, 256, (stop - start, height, width, 3), np.uint8), masks

        def trace(name: str, tensor: torch.Tensor) -> None:
            if name.endswith("latents_after"):
                stamps.append(self.bench.wait())
            if name.endswith("_mask"):
                self.hole = token_mask(tensor).float().mean().item()

        def generator_fn(start: int, purpose: str) -> torch.Generator:
            return noise.generator(0, "benchmark", start, purpose)

        prompt, negative = texts(self.bench)
        image = draw.integers(0, 256, (height, width, 3), np.uint8)
        pieces = self.models.edit(read, self.frames, image, prompt, negative, self.options, generator_fn, trace, timer)
        painted = sum(len(piece) for piece in pieces if np.isfinite(piece).all())
        if painted < self.models.schedule(self.frames, self.options).frames:
            raise RuntimeError("the painted frames are not all finite")
        return stamps

    def counted(self) -> CountingTimer:
        """Operations of each phase."""
        timer = CountingTimer(self.bench.device)
        self.run(timer)
        return timer

    def steps(self, operations: int = 0) -> tuple[Measured, dict[str, float]]:
        """Mean of all steps but the first, which warms up; and the seconds of each phase."""
        self.bench.forget_peak()
        timer = Timer(self.bench.device)
        stamps = self.run(timer)
        mean = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
        return Measured(mean, self.bench.peak(), operations), timer.seconds
