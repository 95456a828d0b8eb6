"""Wide gamuts and high dynamic range brought to BT.709: what phones record as BT.2020 PQ or HLG, and Display P3.

The models know ordinary pictures. Reference white of HDR, 203 cd/m2 (ITU-R BT.2408), becomes white (255), so that a
white line keeps its level; what is brighter is clipped. Electro-optical functions: PQ and HLG by ITU-R BT.2100 (HLG for
a screen of 1000 cd/m2), all others as the power 2.4 of BT.1886, which is also how the result is written.
"""

import functools

import cv2
import numpy as np

from relane.io.colour import BT709, BT2020

PQ, HLG = 16, 18  # H.273 transfer characteristics
WHITE = 203.0  # cd/m2 of reference white, BT.2408
D65 = (0.3127, 0.3290)
# H.273 colour primaries: x and y of red, green, blue and white.
PRIMARIES = {
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
}
NAMES = {PQ: "PQ", HLG: "HLG", BT2020: "BT.2020", 12: "Display P3"}


def converts(primaries: int, transfer: int) -> bool:
    """Whether pictures of these H.273 code points are brought to BT.709 here."""
    return transfer in (PQ, HLG) or (primaries in PRIMARIES and primaries != BT709)


def to_bt709(image: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """(H, W, 3) uint16 R'G'B' (65535 is full signal) of these code points as (H, W, 3) uint8 of BT.709.

    Primaries without an entry in `PRIMARIES` are left as they are.
    """
    light = _light(transfer)[image]
    if transfer == HLG:  # the screen's own gamma goes by luminance and not by channel
        luminance = light @ np.float32((0.2627, 0.6780, 0.0593))
        light *= (1000 / WHITE * luminance**0.2)[..., None]
    if primaries in PRIMARIES and primaries != BT709:
        light = cv2.transform(light, _to_bt709(primaries))
    level = cv2.pow(np.clip(light, 0, 1), 1 / 2.4)
    return np.rint(level * 255).astype(np.uint8)


@functools.cache
def _light(transfer: int) -> np.ndarray:
    """Linear light of each of 65536 signals as float32, 1 for white; of HLG the scene's, up to 1."""
    signal = np.linspace(0, 1, 1 << 16)
    if transfer == PQ:
        power = signal ** (32 / 2523)
        light = (np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)) ** (8192 / 1305)
        return (light * (10_000 / WHITE)).astype(np.float32)
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
    return (signal**2.4).astype(np.float32)


@functools.cache
def _to_bt709(primaries: int) -> np.ndarray:
    """The 3 x 3 matrix from linear RGB of these primaries to linear BT.709 (SMPTE RP 177)."""
    return (np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(primaries)).astype(np.float32)


def _to_xyz(primaries: int) -> np.ndarray:
    *colours, white = ((x / y, 1.0, (1 - x - y) / y) for x, y in PRIMARIES[primaries])
    basis = np.array(colours).T
    return basis * np.linalg.solve(basis, np.array(white))
