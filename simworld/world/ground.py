"""Asphalt, paint and verge under every pixel below the horizon, antialiased by the size of a pixel's footprint."""

from dataclasses import dataclass

import cv2
import numpy as np

from relane.prompts.lanes import Attributes
from simworld.world.look import REPAIRS, REPAIRS_LENGTH, REPAIRS_SIDE, Look, noise_tile, wrapped
from simworld.world.road import Lanes

# Metres. Lines are somewhat wider than on real roads (0.15), so that they survive small pictures.
SINGLE, DOUBLE, APART = 0.24, 0.18, 0.21  # width of one line, of each of two, half the distance between their centres
EDGE = 0.16
# Real periods are 9 to 18 m. Much below 9 m a car passes most of a period in the 0.4 s between two latent frames of
# the video model, and dashes seem to stand still or to run backwards.
PERIOD, DASH = 9.0, 4.0
PAINT = {"white": np.array([226.0, 226.0, 220.0]), "yellow": np.array([232.0, 176.0, 36.0])}
MARKING_RANGE, ROAD_RANGE = 60.0, 250.0  # metres: farther than this the masks say nothing


@dataclass(frozen=True)
class Ground:
    """rgb (3, h, W) uint8, planar because that computes faster; road, marking (h, W) bool.

    Road is the asphalt between its borders, marking the paint of the lane lines.
    """

    rgb: np.ndarray
    road: np.ndarray
    marking: np.ndarray


def _footprint(values: np.ndarray) -> np.ndarray:
    """How much a coordinate changes over one pixel, (h, W)."""
    right = np.empty_like(values)
    right[:, :-1] = values[:, 1:] - values[:, :-1]
    right[:, -1] = right[:, -2]
    down = np.empty_like(values)
    down[:-1] = values[1:] - values[:-1]
    down[-1] = down[-2]
    return np.maximum(cv2.magnitude(right, down), np.float32(1e-3))


def _band(distance: np.ndarray, width: float, footprint: np.ndarray) -> np.ndarray:
    """Share of a pixel covered by a band `width` wide, at `distance` (absolute) from the band's middle."""
    cover = np.clip((np.float32(width / 2) - distance) / footprint + np.float32(0.5), 0, 1)
    return np.minimum(cover, np.float32(width) / footprint)


def _texture(tile: np.ndarray, s: np.ndarray, d: np.ndarray, per_metre: float, along: float = 1.0) -> np.ndarray:
    x, y = wrapped(d * np.float32(per_metre), 512), wrapped(s * np.float32(per_metre * along), 512)
    return cv2.remap(tile, x, y, cv2.INTER_LINEAR)


def line_cover(
    s: np.ndarray, d: np.ndarray, fs: np.ndarray, fd: np.ndarray, lanes: Lanes, attributes: Attributes
) -> np.ndarray:
    """Share of each pixel under the paint of the lane lines, (h, W) float32; footprints fs, fd in metres a pixel.

    All lane lines of a road look alike: the one between ego lane and left neighbour at d = 0 and those beyond.
    """
    near = np.clip(np.rint(d / np.float32(lanes.width)), -(lanes.right - 1), lanes.left - 1)
    beside = np.abs(d - near * np.float32(lanes.width))
    if attributes.count == "single":
        cover = _band(beside, SINGLE, fd)
    else:
        # Far away both lines fall into one pixel: their covers add up.
        apart = np.float32(APART)
        cover = np.minimum(_band(np.abs(beside - apart), DOUBLE, fd) + _band(beside + apart, DOUBLE, fd), 1)
    if attributes.pattern == "dashed":
        phase = np.abs(wrapped(s, PERIOD) - np.float32(PERIOD / 2))
        dash = np.clip((np.float32(DASH / 2) - phase) / fs + np.float32(0.5), 0, 1)
        blur = np.clip((fs - np.float32(PERIOD / 4)) / np.float32(PERIOD / 2), 0, 1)
        cover = cover * (dash * (1 - blur) + blur * np.float32(DASH / PERIOD))
    return cover


def paint_ground(
    s: np.ndarray, d: np.ndarray, distance: np.ndarray, lanes: Lanes, attributes: Attributes, look: Look
) -> Ground:
    """The ground seen at road coordinates s, d (h, W) float32 and `distance` metres along the ray."""
    fs, fd = _footprint(s), _footprint(d)
    tile = noise_tile(look.tile)
    grain = _texture(tile, s, d, 26.0) * np.clip(np.float32(0.06) / fd, 0, 1)
    patches = _texture(tile, s, d, 2.6, 0.35) * np.clip(np.float32(4.0) / fs, 0, 1)
    right, left = lanes.asphalt
    middle, half = np.float32((right + left) / 2), (left - right) / 2
    off = np.abs(d - middle)

    lane = np.abs(wrapped(d, lanes.width) - np.float32(lanes.width / 2))
    tracks = np.exp(-(((lane - np.float32(0.78)) / np.float32(0.3)) ** 2)) * np.float32(-5)
    asphalt = (grain + patches) * np.float32(look.roughness) + tracks
    repairs = cv2.remap(
        look.repairs,
        (d + np.float32(REPAIRS_SIDE)) * np.float32(REPAIRS),
        wrapped(s, REPAIRS_LENGTH) * np.float32(REPAIRS),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    worn = look.asphalt.astype(np.float32)[:, None, None] * (1 + (repairs - 1) * np.clip(np.float32(1.2) / fs, 0, 1))
    verge = _texture(tile, s, d, 9.0) * np.clip(np.float32(0.3) / fd, 0, 1) * np.float32(13) + patches * np.float32(7)

    border = off + patches * np.float32(0.05)
    on_road = np.clip((np.float32(half) - border) / fd + np.float32(0.5), 0, 1)
    on_gravel = np.clip((np.float32(half + 0.6) - border - np.float32(0.12) * grain) / fd + np.float32(0.5), 0, 1)

    wear = np.clip(np.float32(look.wear) - np.float32(0.10) * patches - np.float32(0.06) * grain, 0.3, 1)
    line = line_cover(s, d, fs, fd, lanes, attributes)
    edge_right, edge_left = lanes.edges
    edge = _band(
        np.abs(np.abs(d - np.float32((edge_right + edge_left) / 2)) - np.float32((edge_left - edge_right) / 2)),
        EDGE,
        fd,
    )

    rgb = _layer(look.grass, verge)
    rgb = _over(rgb, _layer(look.gravel, verge), on_gravel)
    rgb = _over(rgb, worn + asphalt, on_road)
    rgb = _over(rgb, _layer(PAINT["white"] * 0.93 * look.light, grain), edge * wear * np.float32(0.9))
    rgb = _over(rgb, _layer(PAINT[attributes.color] * look.light, grain), line * wear)
    shade = look.shade[((s + np.float32(0.45) * d) * np.float32(4)).astype(np.int32) & 511]
    rgb *= shade
    clear = np.exp(distance * np.float32(-1 / look.visibility))
    haze = look.haze.astype(np.float32)[:, None, None]
    rgb = (rgb - haze) * clear + haze
    road = (off < half) & (distance < ROAD_RANGE)
    return Ground(np.clip(rgb, 0, 255).astype(np.uint8), road, (line > 0.4) & road & (distance < MARKING_RANGE))


def _layer(colour: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """A colour (3,) with grey texture (h, W) added: (3, h, W)."""
    return colour.astype(np.float32)[:, None, None] + texture


def _over(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """`above` (overwritten) over `below` by `alpha` (h, W)."""
    above -= below
    above *= alpha
    above += below
    return above
