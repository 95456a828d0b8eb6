"""Where the road is in the picture of a forward camera: the default prompt of SAM2, and what of it hits other things.

The default points know no traffic. In a tele camera or behind a lead vehicle some of them lie on that vehicle, and SAM2
takes a click on it as road. So each is compared with the others: most of them do lie on the road.
"""

from collections.abc import Sequence

import numpy as np

from relane.config.sections.sam2 import Point

PATCH = 0.012  # of the picture's width: half the side of what is looked at around a point
NEAREST = 4  # points that lie lowest in the picture, nearest to the camera: they say what the asphalt looks like
HUE, LIGHT = 8.0, 25.0  # CIELAB units from that asphalt, from which on a point shows something else
ROUGH = 8.0, 3.0  # spread of lightness within a patch, and how many times the asphalt's: edges, lamps, a number plate
LEAST = 3  # points that are needed to ask for a road


def on_road(picture: np.ndarray, guess: np.ndarray, points: Sequence[Point]) -> list[Point]:
    """Those of the default points that lie on the road, by the first guess and by what is seen around them.

    picture: (H, W, 3) uint8 RGB. guess: (H', W') bool, the mask that all points together gave. A point is dropped that
    the guess leaves out, whose patch is rough, or differs in hue or much in lightness from the asphalt nearest to the
    camera. That costs a point on paint or in a deep shadow now and then, and the others still ask for the road. Where
    fewer than LEAST would be left, nothing tells them apart, and all are kept.
    """
    import cv2

    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    reach = max(2, round(PATCH * lab.shape[1]))
    colours, spreads, inside = [], [], []
    for point in points:
        row, column = _pixel(point, lab.shape)
        patch = lab[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        colours.append(np.median(patch.reshape(-1, 3), axis=0))
        spreads.append(patch[..., 0].std())
        inside.append(guess[_pixel(point, guess.shape)])
    nearest = np.argsort([-y for _, y in points], kind="stable")[:NEAREST]
    light, *hue = np.abs(np.array(colours) - np.median(np.array(colours)[nearest], axis=0)).T
    rough = np.array(spreads) > max(ROUGH[0], ROUGH[1] * float(np.median(np.array(spreads)[nearest])))
    keep = np.array(inside) & ~rough & (np.hypot(*hue) <= HUE) & (light <= LIGHT)
    return [point for point, kept in zip(points, keep, strict=True) if kept] if keep.sum() >= LEAST else list(points)


def _pixel(point: Point, shape: tuple[int, ...]) -> tuple[int, int]:
    (x, y), (height, width) = point, shape[:2]
    return min(int(y * height), height - 1), min(int(x * width), width - 1)
