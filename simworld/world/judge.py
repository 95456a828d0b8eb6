"""What a picture of the world shows on its lane line, read from pixels along the known line; nothing here is learnt.

The scene says where the line is and what hides it; count, colour and pattern come from the picture alone. So the same
judge serves true renders, edits, and what an autoencoder makes of them.
"""

from typing import NamedTuple

import cv2
import numpy as np

from relane.prompts.lanes import Attributes
from simworld.world.ground import APART, DASH, DOUBLE, PERIOD, SINGLE
from simworld.world.scene import Scene

STEP = 0.1  # metres between stations along the line
ACROSS = np.arange(-0.8, 0.801, 0.04)  # lateral positions that are read at each station, metres
BESIDE = np.abs(ACROSS) > 0.5  # asphalt on both sides, whatever is painted
LATERAL, ALONG = 6.0, 0.45  # pixels a metre below which a station says nothing of width, of gaps
SHORTEST = 2.0  # metres of line in sight below which it counts as not in sight
FAINTEST = 0.10  # paint over asphalt, less one, below which there is no line
SHIFTS = np.arange(-0.16, 0.161, 0.02)  # metres by which an edited line may lie off
GAP_LEFT = 0.6  # a line is dashed if its gaps have less than this share of the dashes' paint
YELLOW = 0.4  # blue gained over red gained, in white light, below which paint is yellow (white paint 0.95, yellow -0.4)


class Strip(NamedTuple):
    """The line's surroundings, straightened: n stations along it, m = len(ACROSS) positions across.

    s (n,) metres of road; colour (n, m, 3) float32 RGB; lateral, along (n,) pixels a metre of the picture there.
    """

    s: np.ndarray
    colour: np.ndarray
    lateral: np.ndarray
    along: np.ndarray


def strip(image: np.ndarray, scene: Scene, camera: str, t: float, road: np.ndarray | None = None) -> Strip:
    """The line at d = 0 of a picture (H, W, 3) uint8 that `camera` takes at t: only stations in sight and near enough.

    road (H, W) bool: `scene.render(camera, t).road_mask`, where the caller has it already. A station counts as in
    sight where all of it, and a pixel around, is road.
    """
    if road is None:
        road = scene.render(camera, t).road_mask
    clear = cv2.erode(road.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    here = scene.drive.at(t)[0]
    s = np.arange(here - 60.0, here + 60.0, STEP)
    stations, positions = np.meshgrid(s, ACROSS, indexing="ij")
    pixels, inside = scene.project_road(camera, t, stations.ravel(), positions.ravel())
    pixels, inside = pixels.reshape(*stations.shape, 2), inside.reshape(stations.shape)
    at = np.rint(np.where(inside[..., None], pixels, 0)).astype(int)
    seen = (inside & (clear[at[..., 1], at[..., 0]] > 0)).all(1)
    lateral = np.linalg.norm(pixels[:, -1] - pixels[:, 0], axis=-1) / np.ptp(ACROSS)
    along = np.linalg.norm(np.gradient(pixels[:, len(ACROSS) // 2], axis=0), axis=-1) / STEP
    keep = seen & (lateral > LATERAL)
    x, y = (pixels[keep][..., axis].astype(np.float32) for axis in (0, 1))
    colour = cv2.remap(image, x, y, cv2.INTER_LINEAR) if keep.any() else np.zeros((0, len(ACROSS), 3))
    return Strip(s[keep], colour.astype(np.float32), lateral[keep], along[keep])


def read_line(
    image: np.ndarray, scene: Scene, camera: str, t: float, road: np.ndarray | None = None
) -> Attributes | None:
    """Count, colour and pattern of the line between the ego lane and its left neighbour, as the picture shows them.

    image (H, W, 3) uint8 RGB, the whole frame of `camera` at t seconds; `road` as in `strip`. The scene gives place,
    light and what hides the line, never its paint, so any repainting of it serves. The phase of dashes is free: an
    editor cannot know it. None where the line is not in sight or no paint is there; pattern `unknown` where less
    than one period of the line is in sight.
    """
    part = strip(image, scene, camera, t, road)
    if len(part.s) * STEP < SHORTEST:
        return None
    # Paint over the asphalt beside it, in red, where white and yellow are equally bright: shadows cancel out.
    asphalt = np.maximum(np.median(part.colour[:, BESIDE], axis=1), 8.0)
    gain = part.colour / asphalt[:, None] - 1
    red = gain[..., 0]
    count, profile = _count(red, part.lateral)
    paint = red @ profile
    if np.quantile(paint, 0.8) < FAINTEST:
        return None
    weight = np.clip(paint, 0, None) * part.lateral
    gained = ((part.colour - asphalt[:, None]) * profile[None, :, None]).sum(1)
    mean = (gained * weight[:, None]).sum(0) / scene.look.light
    color = "yellow" if mean[2] < YELLOW * mean[0] else "white"
    return Attributes(count, color, _pattern(part.s, paint, part.along))


def _count(red: np.ndarray, lateral: np.ndarray) -> tuple[str, np.ndarray]:
    """Single or double, by which of the two profiles lies closer; and that profile (m,), its sum 1."""
    strength = np.clip(red, 0, None).max(1)
    seen = (red * (strength * lateral)[:, None]).sum(0)
    blur = 0.5 / np.median(lateral)
    best = ("single", -2.0, np.zeros(len(ACROSS)))
    for name, centres, width in (("single", (0.0,), SINGLE), ("double", (-APART, APART), DOUBLE)):
        for shift in SHIFTS:
            profile = np.sum([_band(ACROSS - centre - shift, width, blur) for centre in centres], 0)
            alike = np.corrcoef(profile, seen)[0, 1]
            if alike > best[1]:
                best = (name, alike, profile / profile.sum())
    return best[0], best[2]


def _band(offset: np.ndarray, width: float, blur: float) -> np.ndarray:
    """A stripe `width` wide, its edges `blur` metres soft to each side."""
    return np.clip((width / 2 - np.abs(offset)) / (2 * blur) + 0.5, 0, 1)


def _pattern(s: np.ndarray, paint: np.ndarray, along: np.ndarray) -> str:
    """Dashed if some phase splits the line into dashes and (nearly) bare gaps, better than a smooth fade explains it.

    A solid line that grows faint with distance also has less paint in the "gaps" of a phase that begins near the car.
    """
    near = along > ALONG
    s, paint, weight = s[near], np.clip(paint[near], 0, None), along[near]
    if len(s) * STEP < PERIOD:
        return "unknown"
    fade = weight * (paint - _fit(s, paint, weight, 2)) ** 2
    for phase in np.arange(0, PERIOD, 0.2):
        off = np.abs((s - phase) % PERIOD - PERIOD / 2)
        dash, gap = off < DASH / 2 - 0.4, off > DASH / 2 + 0.4
        if min(dash.sum(), gap.sum()) * STEP < 1.5:
            continue
        high = np.average(paint[dash], weights=weight[dash])
        low = np.average(paint[gap], weights=weight[gap])
        if low > GAP_LEFT * max(high, 1e-6):
            continue
        dashes = weight[dash] * (paint[dash] - _fit(s[dash], paint[dash], weight[dash], 1)) ** 2
        if dashes.sum() + (weight[gap] * (paint[gap] - low) ** 2).sum() < fade[dash | gap].sum():
            return "dashed"
    return "solid"


def _fit(s: np.ndarray, paint: np.ndarray, weight: np.ndarray, degree: int) -> np.ndarray:
    """The polynomial of s that lies closest to the paint, at s."""
    return np.polynomial.Polynomial.fit(s, paint, degree, w=np.sqrt(weight))(s)
