"""Many shapes as arrays: moved, culled, projected together, then drawn one by one from far to near."""

from dataclasses import dataclass, fields

import cv2
import numpy as np

from simworld.world.objects import BALL, FACE, POST, SHADOW, Thing
from simworld.world.rig import Camera

_SHIFT = 4  # cv2's fixed-point bits: shapes move smoothly, by sixteenths of a pixel


@dataclass(frozen=True)
class Shapes:
    """n shapes: kinds (n,), vertices (n, 8, 3) metres, sizes (n, 2), colours (n, 3), and per shape the index of the
    thing it belongs to with that thing's centre (n, 2): whole things are sorted by distance, not single faces."""

    kinds: np.ndarray
    vertices: np.ndarray
    sizes: np.ndarray
    colours: np.ndarray
    thing: np.ndarray
    centre: np.ndarray

    @classmethod
    def of(cls, thing: Thing) -> "Shapes":
        """One thing, in its own frame."""
        n = len(thing.kinds)
        parts = (np.array(thing.kinds), np.array(thing.vertices), np.array(thing.sizes), np.array(thing.colours))
        return cls(*parts, np.zeros(n, int), np.zeros((n, 2)))

    @classmethod
    def joined(cls, parts: list["Shapes"]) -> "Shapes":
        """Several groups as one; their things stay apart."""
        counts = np.cumsum([0] + [int(part.thing.max(initial=-1)) + 1 for part in parts[:-1]])
        joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)}
        joined["thing"] = np.concatenate([part.thing + k for part, k in zip(parts, counts, strict=True)])
        return cls(**joined)

    def _moved(self, turn: np.ndarray, shift: np.ndarray) -> "Shapes":
        flat = self.vertices[..., :2] @ turn + shift
        vertices = np.concatenate([flat, self.vertices[..., 2:]], -1)
        return Shapes(self.kinds, vertices, self.sizes, self.colours, self.thing, self.centre @ turn + shift)

    def placed(self, x: float, y: float, heading: float) -> "Shapes":
        """Out of a frame that stands at x, y, turned by `heading`."""
        c, s = np.cos(heading), np.sin(heading)
        return self._moved(np.array([[c, s], [-s, c]]), np.array([x, y]))

    def seen_from(self, x: float, y: float, heading: float) -> "Shapes":
        """Into a frame that stands at x, y, turned by `heading`."""
        turn = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
        return self._moved(turn, -np.array([x, y]) @ turn)

    def within(self, x: float, y: float, direction: float, half_angle: float, reach: float) -> "Shapes":
        """The shapes of things in a sector around x, y; things that are very near count whatever their bearing."""
        dx, dy = self.centre[:, 0] - x, self.centre[:, 1] - y
        away = np.hypot(dx, dy)
        bearing = np.abs((np.arctan2(dy, dx) - direction + np.pi) % (2 * np.pi) - np.pi)
        keep = (away < reach) & ((bearing < half_angle) | (away < 15))
        return Shapes(*(getattr(self, f.name)[keep] for f in fields(self)))


def draw(
    shapes: Shapes, image: np.ndarray, hidden: np.ndarray | None, camera: Camera, haze: np.ndarray, visibility: float
) -> None:
    """Draw shapes (rig frame) into `image` (H, W, 3) uint8; `hidden` (H, W) uint8 becomes 255 where they cover."""
    if not len(shapes.kinds):
        return
    pixels, theta = camera.project(shapes.vertices)
    reach = np.maximum(np.linalg.norm(shapes.vertices[:, :2] - camera.mount, axis=-1), 0.5)
    # f-theta is nearly uniform, so one number of pixels a radian does for the widths of posts and balls.
    size = shapes.sizes * camera.forward[1] / reach
    posts = shapes.kinds == POST
    pixels[posts] = _bars(pixels[posts], size[posts])
    x, y = pixels[..., 0], pixels[..., 1]
    extent = np.maximum(np.ptp(x, axis=1), np.ptp(y, axis=1)) + 2 * size[:, 0] * (shapes.kinds == BALL)
    area = (x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)
    keep = (theta < min(camera.half_fov * 1.25 + 0.45, 2.4)).all(1) & (extent > 0.4)
    # Pixel rows run downwards: a face whose corners run counter-clockwise outside has negative area when seen.
    keep &= (area < 0) | (shapes.kinds != FACE)
    margin = size[:, 0] * (shapes.kinds == BALL) + 2
    keep &= (x.max(1) > -margin) & (x.min(1) < camera.width + margin)
    keep &= (y.max(1) > -margin) & (y.min(1) < camera.height + margin)

    distance = np.linalg.norm(shapes.centre - camera.mount[:2], axis=1)
    clear = np.exp(-distance / visibility)[:, None]
    rgb = np.clip(shapes.colours * clear + haze * (1 - clear), 0, 255)
    fixed = np.rint(np.clip(pixels, -2000, 4000) * (1 << _SHIFT)).astype(np.int32)
    radius = np.maximum(np.rint(size[:, 0] * (1 << _SHIFT)), 1).astype(int)
    chosen = np.flatnonzero(keep)
    order = chosen[np.lexsort((chosen, shapes.thing[chosen], -distance[chosen]))]
    for k, kind, colour in zip(order, shapes.kinds[order].tolist(), rgb[order].tolist(), strict=True):
        if kind == BALL:
            place = fixed[k, 0].tolist()
            cv2.circle(image, place, int(radius[k]), colour, -1, cv2.LINE_AA, _SHIFT)
            if hidden is not None:
                cv2.circle(hidden, place, int(radius[k]), 255, -1, cv2.LINE_8, _SHIFT)
            continue
        cv2.fillConvexPoly(image, fixed[k], colour, cv2.LINE_AA, _SHIFT)
        if hidden is not None and kind != SHADOW:
            cv2.fillConvexPoly(hidden, fixed[k], 255, cv2.LINE_8, _SHIFT)


def _bars(pixels: np.ndarray, half_width: np.ndarray) -> np.ndarray:
    """Posts (n, 8, 2) as the corners of bars with half widths (n, 2) in pixels, never thinner than half a pixel."""
    foot, top = pixels[:, 0], pixels[:, 1]
    along = top - foot
    side = np.stack([-along[:, 1], along[:, 0]], -1) / np.maximum(np.hypot(*along.T), 1e-6)[:, None]
    width = np.maximum(half_width, 0.25)
    low, high = side * width[:, :1], side * width[:, 1:]
    corners = np.stack([foot + low, foot - low, top - high, top + high], 1)
    return np.concatenate([corners, np.repeat(corners[:, -1:], 4, 1)], 1)
