"""A tiny random VideoPainter branch for the tiny CogVideoX, in the layout of VideoPainter/checkpoints/branch."""

from pathlib import Path

import torch

from relane.editors.videopainter.networks import CogvideoXBranchModel
from relane.io.files import atomic_folder
from simworld.tiny.cogvideox import NETWORK


def build(folder: Path, seed: int = 0) -> None:
    """Write config.json and diffusion_pytorch_model.safetensors into `folder`.

    The output layers, which training starts at zero, are random too: a branch that adds nothing would hide mistakes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        branch = CogvideoXBranchModel(**NETWORK, num_layers=2).float()
        for linear in branch.branch_blocks:
            torch.nn.init.normal_(linear.weight, std=0.02)
    with atomic_folder(folder) as partial:
        branch.save_pretrained(partial, safe_serialization=True)
