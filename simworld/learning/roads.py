"""SAM2 learns the road: clicks on the first frame, memory on the next ones, the losses of its own training.

Per frame focal-free mask loss (2 BCE + dice) on the best of the masks, a smaller one on all, and L1 between the
predicted and the true IoU (Ravi et al., "SAM 2", 2024, appendix D, in a simpler form).
"""

import numpy as np
import torch
import torch.nn.functional as F

from relane.config.sections.sam2 import POINTS
from relane.road.sam2_video import MEAN, STD


def normalised(images: torch.Tensor) -> torch.Tensor:
    """(B, S, S, 3) uint8 to (B, 3, S, S) float32 as `relane.road.sam2_video.pixels` gives it."""
    mean, std = MEAN.to(images.device), STD.to(images.device)
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def clicks(roads: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points (B, P, 2) in pixels and labels (B, P): our nine points, or one to three clicks on and off the road.

    roads: (B, S, S) bool. The nine are labelled road whatever lies there: that is how they are used.
    """
    batch, size = roads.shape[:2]
    if rng.random() < 0.6:
        points = np.array(POINTS, np.float32) * size
        return np.repeat(points[None], batch, 0), np.ones((batch, len(points)), np.int32)
    count = int(rng.integers(1, 4))
    points, labels = np.zeros((batch, count, 2), np.float32), np.ones((batch, count), np.int32)
    for row, road in enumerate(roads):
        for k in range(count):
            labels[row, k] = 0 if k and rng.random() < 0.25 else 1
            ys, xs = np.nonzero(road == labels[row, k])
            if len(ys):
                chosen = rng.integers(len(ys))
                points[row, k] = xs[chosen] + 0.5, ys[chosen] + 0.5
    return points, labels


def track(model: torch.nn.Module, frames: list[torch.Tensor], prompt: dict[str, torch.Tensor]) -> list[tuple]:
    """sam2's own tracking step with gradients: for each frame high-resolution logits (B, M, S, S), predicted IoU
    (B, M), object score (B, 1)."""
    found = []
    memory: dict[str, dict] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    for number, frame in enumerate(frames):
        first = number == 0
        points = prompt if first else None
        _, features, positions, sizes = model._prepare_backbone_features(model.forward_image(frame))
        current, outputs, _, _ = model._track_step(
            number, first, features, positions, sizes, points, None, memory, len(frames), False, None
        )
        _, high, ious, low_best, high_best, pointer, score = outputs
        current |= {"pred_masks": low_best, "pred_masks_high_res": high_best, "obj_ptr": pointer}
        model._encode_memory_in_output(features, sizes, points, True, high_best, score, current)
        memory["cond_frame_outputs" if first else "non_cond_frame_outputs"][number] = current
        found.append((high, ious, score))
    return found


def mask_loss(logits: torch.Tensor, road: torch.Tensor, ious: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and the mean IoU of the best mask: logits (B, M, S, S), road (B, 1, S, S) bool, ious (B, M)."""
    wanted = road.float().expand_as(logits)
    chance = logits.sigmoid()
    bce = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean((-2, -1))
    overlap = (chance * wanted).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (chance.sum((-2, -1)) + wanted.sum((-2, -1)) + 1)
    each = 4 * bce + dice
    with torch.no_grad():
        found, true = logits > 0, wanted > 0.5
        iou = (found & true).sum((-2, -1)) / ((found | true).sum((-2, -1)) + 1e-6)
        best = each.argmin(1, keepdim=True)
    loss = each.gather(1, best).mean() + 0.3 * each.mean() + 0.5 * (ious - iou).abs().mean()
    return loss, iou.gather(1, best).mean()


def clip_loss(
    model: torch.nn.Module, images: torch.Tensor, roads: torch.Tensor, rng: np.random.Generator, autocast
) -> tuple[torch.Tensor, dict]:
    """Loss of a batch of clips: images (B, T, S, S, 3) uint8, roads (B, T, S, S) bool, on the model's device."""
    points, labels = clicks(roads[:, 0].cpu().numpy(), rng)
    if rng.random() < 0.5:
        images, roads = images.flip(3), roads.flip(3)
        points[..., 0] = images.shape[3] - points[..., 0]
    device = images.device
    prompt = {
        "point_coords": torch.from_numpy(points).to(device),
        "point_labels": torch.from_numpy(labels).to(device),
    }
    # The picture's light varies more here than in the world: edited frames differ, too.
    gain = 1 + 0.15 * torch.randn(len(images), 1, 1, 1, device=device)
    frames = [normalised(images[:, t]) * gain + 0.03 * torch.randn(1, device=device) for t in range(images.shape[1])]
    with autocast:
        found = track(model, frames, prompt)
    total, figures = 0.0, {}
    for number, (logits, ious, score) in enumerate(found):
        loss, iou = mask_loss(logits.float(), roads[:, number, None], ious.float())
        total = total + loss + 0.02 * F.softplus(-score.float()).mean()
        figures[f"iou{number}"] = iou
    return total / len(found), figures
