"""What the world looks like: light, weather, asphalt, paint, sky; drawn once a scene, whatever its markings."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from relane import noise

PANORAMA = (256, 2048)  # elevation 0 to 45 degrees, all azimuths
ELEVATION = np.deg2rad(45.0)
REPAIRS, REPAIRS_LENGTH, REPAIRS_SIDE = 8, 128, 12  # cells a metre; metres along the road, and to either side


def rng_of(*key: object) -> np.random.Generator:
    """A numpy generator keyed by what it is for."""
    return np.random.default_rng(noise.seed_of("world", *key))


@cache
def noise_tile(which: int, size: int = 512) -> np.ndarray:
    """Cloudy noise (size + 1, size + 1) float32, mean 0, deviation 1; its last row and column are the first again."""
    rng = rng_of("tile", which)
    total = np.zeros((size, size), np.float32)
    for cells, weight in ((8, 0.35), (32, 0.35), (128, 0.35), (512, 0.35)):
        small = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 1, mode="wrap")
        scale = size // cells
        big = cv2.resize(small, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        total += weight * big[scale:-scale, scale:-scale]
    return np.pad(total / total.std(), ((0, 1), (0, 1)), mode="wrap")


def wrapped(values: np.ndarray, size: int) -> np.ndarray:
    """Values modulo `size`, float32 (np.mod is several times slower, and so is cv2.remap's own wrapping)."""
    return values - np.floor(values * np.float32(1 / size)) * np.float32(size)


@dataclass(frozen=True)
class Look:
    """Colours are RGB 0..255 float arrays, as the camera sees them in this light."""

    asphalt: np.ndarray
    grass: np.ndarray
    gravel: np.ndarray
    haze: np.ndarray
    sky: np.ndarray
    light: np.ndarray  # factor per channel for everything that is lit
    visibility: float  # metres at which haze has taken 63 % of the contrast
    roughness: float  # of the asphalt's texture, grey levels
    wear: float  # share of the paint that is left, 0..1
    clouds: float  # 0 clear .. 1 overcast
    sun_azimuth: float
    shadow: float  # factor in a shadow; 1 under an overcast sky
    tile: int
    shade: np.ndarray  # shadow factor per quarter metre of road, wraps around
    repairs: np.ndarray  # brightness factor of joints and patches: (s, d) in REPAIRS cells a metre, wraps along s


WEATHER = ("clear", "fair", "overcast", "haze", "evening")


def draw_look(seed: int) -> Look:
    """The look of a scene."""
    rng = rng_of(seed, "look")
    weather = WEATHER[rng.choice(len(WEATHER), p=[0.3, 0.3, 0.2, 0.1, 0.1])]
    clouds = {"clear": 0.1, "fair": 0.5, "overcast": 1.0, "haze": 0.8, "evening": 0.4}[weather] * rng.uniform(0.8, 1)
    gain = {"clear": 1.08, "fair": 1.0, "overcast": 0.86, "haze": 0.95, "evening": 0.8}[weather] * rng.uniform(
        0.9, 1.08
    )
    warm = {"evening": 0.12, "clear": 0.03}.get(weather, 0.0) + rng.uniform(-0.02, 0.02)
    light = gain * np.array([1 + warm, 1.0, 1 - warm])
    sky = np.array([95.0, 150.0, 220.0]) * (1 - clouds) + np.array([176.0, 186.0, 198.0]) * clouds
    sky = np.clip(sky * light * rng.uniform(0.95, 1.08), 0, 245)
    haze = np.clip((np.array([214.0, 222.0, 230.0]) + rng.uniform(-6, 6)) * light, 0, 250)
    grey = rng.uniform(78, 116)
    shadow = 1.0 if weather in ("overcast", "haze") else float(rng.uniform(0.55, 0.75))
    return Look(
        asphalt=(np.full(3, grey) + rng.uniform(-5, 5, 3)) * light,
        grass=np.array([rng.uniform(88, 128), rng.uniform(116, 142), rng.uniform(56, 76)]) * light,
        gravel=np.array([150.0, 140.0, 122.0]) * rng.uniform(0.85, 1.1) * light,
        haze=haze,
        sky=sky,
        light=light,
        visibility=float(rng.uniform(90, 140) if weather == "haze" else rng.uniform(260, 520)),
        roughness=float(rng.uniform(2.5, 5.5)),
        wear=float(rng.uniform(0.72, 0.97)),
        clouds=float(clouds),
        sun_azimuth=float(rng.uniform(-np.pi, np.pi)),
        shadow=shadow,
        tile=int(rng.integers(3)),
        shade=_shade_table(rng, shadow),
        repairs=_repairs(rng_of(seed, "repairs")),
    )


def _shade_table(rng: np.random.Generator, shadow: float) -> np.ndarray:
    """Shadows of what stands beside the road: a few soft-edged bars in every 128 m."""
    table = np.ones(512, np.float32)
    for _ in range(int(rng.integers(2, 7))):
        start, length = int(rng.integers(0, 512)), int(rng.integers(4, 22))
        table[np.arange(start, start + length) % 512] = shadow + (1 - shadow) * rng.uniform(0, 0.4)
    soft = np.convolve(np.tile(table, 3), np.ones(5) / 5, mode="same")
    return soft[512:1024].astype(np.float32)


def _repairs(rng: np.random.Generator) -> np.ndarray:
    """Joints across the road and patches in it, (REPAIRS_LENGTH * REPAIRS + 1, 2 * REPAIRS_SIDE * REPAIRS) float32.

    They are what tells, in a video, how fast the road passes by. The last row is the first again.
    """
    rows, columns = REPAIRS_LENGTH * REPAIRS, 2 * REPAIRS_SIDE * REPAIRS
    table = np.ones((rows, columns), np.float32)
    for _ in range(int(rng.integers(14, 34))):
        length, width = int(rng.uniform(1.0, 5.0) * REPAIRS), int(rng.uniform(1.2, 3.2) * REPAIRS)
        row, column = int(rng.integers(rows - length)), int(rng.integers(columns - width))
        table[row : row + length, column : column + width] *= rng.uniform(0.78, 1.12)
    row = 0
    while (row := row + int(rng.uniform(2.5, 9.0) * REPAIRS)) < rows - 2:
        left, right = sorted(rng.integers(0, columns, 2)) if rng.random() < 0.4 else (0, columns)
        table[row : row + int(rng.integers(1, 3)), left:right] *= rng.uniform(0.55, 0.82)
    table = cv2.GaussianBlur(table, (3, 3), 0)
    return np.pad(table, ((0, 1), (0, 0)), mode="wrap")


def panorama(look: Look, seed: int) -> np.ndarray:
    """The sky all around, (256, 2049, 3) uint8, row 0 at the horizon, its last column the first again.

    A gradient, clouds, the sun's glow, three ridges of hills and woods.
    """
    rows, columns = PANORAMA
    elevation = np.linspace(0, ELEVATION, rows, dtype=np.float32)[:, None]
    azimuth = np.linspace(-np.pi, np.pi, columns, endpoint=False, dtype=np.float32)[None]
    fade = np.exp(-elevation / 0.22)[..., None]
    sky = look.sky * (1 - fade) + look.haze * fade + np.zeros((rows, columns, 1), np.float32)
    glow = np.exp(-((np.cos(azimuth - look.sun_azimuth) - 1) ** 2) / 0.02 - elevation / 0.5)[..., None]
    sky = sky + glow * (1 - look.clouds) * np.array([40.0, 30.0, 10.0])
    # Clouds on a flat ceiling: their texture is compressed towards the horizon.
    height = 1 / np.maximum(np.sin(elevation), 0.06)
    tile = noise_tile(look.tile)
    u, v = np.cos(azimuth) * height * 18, np.sin(azimuth) * height * 18
    u, v = wrapped(u.astype(np.float32), 512), wrapped(v.astype(np.float32), 512)
    cloud = cv2.remap(tile, u, v, cv2.INTER_LINEAR)
    cover = (
        np.clip((cloud + 2.4 * look.clouds - 1.4) * 0.7, 0, 1)[..., None] * np.clip(elevation / 0.08, 0, 1)[..., None]
    )
    white = np.clip(np.array([240.0, 242.0, 245.0]) * look.light * (1 - 0.12 * look.clouds), 0, 250)
    sky = sky * (1 - 0.75 * cover) + white * 0.75 * cover
    rng = rng_of(seed, "hills")
    for depth, size, rough in ((0.75, 0.075, 5), (0.55, 0.045, 9), (0.4, 0.022, 120)):
        line = np.zeros_like(azimuth)
        for k in range(1, rough, max(1, rough // 6)):
            line = line + rng.uniform(0.3, 1) / np.sqrt(k) * np.sin(k * azimuth + rng.uniform(0, 6.3))
        ridge = size * (0.6 + 0.25 * line)
        colour = look.grass * np.array([0.6, 0.72, 0.75]) * (1 - depth) + look.haze * depth
        inside = np.clip((ridge - elevation) / 0.0035 + 0.5, 0, 1)[..., None]
        sky = sky * (1 - inside) + colour * inside
    return np.pad(np.clip(sky, 0, 255).astype(np.uint8), ((0, 0), (0, 1), (0, 0)), mode="wrap")
