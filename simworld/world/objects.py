"""What stands and drives beside and on the road: small models of trees, houses, posts and cars, and their drawing.

A `Thing` is a list of shapes: flat faces (drawn from outside only), posts (bars that always face the camera) and
balls. `simworld.world.paint` projects and draws them.
"""

from dataclasses import dataclass, field

import numpy as np

FACE, POST, BALL, SHADOW = range(4)
CORNERS = 8  # every shape is stored with this many vertices, the last one repeated


@dataclass
class Thing:
    """Shapes in a frame of their own (z up, metres): kinds, vertices (8, 3) each, sizes and RGB colours."""

    kinds: list[int] = field(default_factory=list)
    vertices: list[np.ndarray] = field(default_factory=list)
    sizes: list[tuple[float, float]] = field(default_factory=list)
    colours: list[np.ndarray] = field(default_factory=list)

    def add(self, kind: int, points: object, colour: object, size: tuple[float, float] = (0.0, 0.0)) -> None:
        """Append a shape of up to 8 points (n, 3); size: a post's half width at foot and top, or a ball's radius."""
        points = np.asarray(points, float).reshape(-1, 3)
        self.kinds.append(kind)
        self.vertices.append(np.pad(points, ((0, CORNERS - len(points)), (0, 0)), mode="edge"))
        self.sizes.append(size)
        self.colours.append(np.asarray(colour, float))

    def face(self, points: object, colour: object) -> None:
        """A flat face, its corners counter-clockwise as seen from outside."""
        self.add(FACE, points, colour)

    def box(self, low: tuple[float, float, float], high: tuple[float, float, float], colours: list[object]) -> None:
        """A box's rear, front, right, left and top face in five colours; x forward, y left."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        corner = np.array([[x, y, z] for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)])
        for index, colour in zip(_BOX_FACES, colours, strict=True):
            self.face(corner[list(index)], colour)


# Corners are numbered x, y, z as binary digits: 0 = low, 1 = high. Rear, front, right, left, top.
_BOX_FACES = ((2, 0, 1, 3), (4, 6, 7, 5), (0, 4, 5, 1), (6, 2, 3, 7), (1, 5, 7, 3))


def tree(rng: np.random.Generator, light: np.ndarray) -> Thing:
    """A broad-leaved tree or a conifer, 4 to 9 m high."""
    thing = Thing()
    height = rng.uniform(4.5, 8.5)
    green = np.array([62.0, 92.0, 44.0]) * rng.uniform(0.75, 1.2) * light + rng.uniform(-8, 8, 3)
    bark = np.array([82.0, 66.0, 52.0]) * light
    if rng.uniform() < 0.3:
        thing.add(POST, [(0, 0, 0), (0, 0, 0.25 * height)], bark, (0.16, 0.14))
        for low, width, tone in ((0.15, 0.24, 0.72), (0.38, 0.18, 0.85), (0.6, 0.11, 1.0)):
            thing.add(
                POST, [(0, 0, low * height), (0, 0, (low + 0.42) * height)], green * tone * 0.85, (width * height, 0.02)
            )
        return thing
    thing.add(POST, [(0, 0, 0), (0, 0, 0.6 * height)], bark, (0.2, 0.12))
    for tone, up, reach, size in (
        (0.7, 0.56, 0.16, 0.2),
        (0.86, 0.66, 0.14, 0.19),
        (1.0, 0.76, 0.1, 0.16),
        (1.18, 0.8, 0.07, 0.1),
    ):
        for _ in range(2 if tone < 1.1 else 1):
            around = rng.uniform(0, 2 * np.pi)
            centre = (
                reach * height * np.cos(around),
                reach * height * np.sin(around),
                (up + rng.uniform(-0.04, 0.04)) * height,
            )
            thing.add(BALL, [centre], green * tone, (size * height, 0))
    return thing


def bush(rng: np.random.Generator, light: np.ndarray) -> Thing:
    """A bush, about 1 m high."""
    thing = Thing()
    green = np.array([80.0, 104.0, 54.0]) * rng.uniform(0.75, 1.15) * light
    for tone in (0.75, 0.9, 1.05):
        size = rng.uniform(0.45, 0.75)
        thing.add(BALL, [(rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7), size * 0.7)], green * tone, (size, 0))
    return thing


def house(rng: np.random.Generator, light: np.ndarray) -> Thing:
    """A house with a pitched roof along x, windows on all sides, about 9 by 8 m."""
    thing = Thing()
    a, b, h = rng.uniform(4, 6), rng.uniform(3.2, 4.5), rng.uniform(3.0, 5.5)
    ridge = h + rng.uniform(1.8, 2.8)
    plaster = [(204, 194, 176), (188, 170, 150), (214, 212, 204), (160, 108, 88), (196, 182, 140)]
    wall = np.array(plaster[rng.integers(len(plaster))], float) * light
    roof = np.array([(128, 66, 50), (92, 82, 78), (110, 74, 58)][rng.integers(3)], float) * light
    glass = np.array([66.0, 78.0, 92.0]) * light
    thing.box((-a, -b, 0), (a, b, h), [wall * 0.82, wall * 0.82, wall * 0.95, wall * 0.95, roof])
    for x in (-a, a):
        gable = [(x, -b, h), (x, b, h), (x, 0, ridge)]
        thing.face(gable if x > 0 else gable[::-1], wall * 0.8)
    for level in range(2 if h > 4.4 else 1):
        low = 1.0 + 2.3 * level
        for k in (-0.55, 0.0, 0.55):
            for side in (-1, 1):
                across = [(k * b - 0.5, low), (k * b + 0.5, low), (k * b + 0.5, low + 1.2), (k * b - 0.5, low + 1.2)]
                face = [(side * (a + 0.02), y, z) for y, z in across]
                thing.face(face if side > 0 else face[::-1], glass)
                face = [(k * a / b * b + x, side * (b + 0.02), z) for x, z in [(p[0] - k * b, p[1]) for p in across]]
                thing.face(face[::-1] if side > 0 else face, glass)
    thing.face(
        [(-a - 0.4, -b - 0.5, h - 0.3), (a + 0.4, -b - 0.5, h - 0.3), (a + 0.4, 0, ridge), (-a - 0.4, 0, ridge)], roof
    )
    thing.face(
        [(a + 0.4, b + 0.5, h - 0.3), (-a - 0.4, b + 0.5, h - 0.3), (-a - 0.4, 0, ridge), (a + 0.4, 0, ridge)],
        roof * 0.88,
    )
    return thing


def delineator(light: np.ndarray) -> Thing:
    """A white roadside post with a black band."""
    thing = Thing()
    thing.add(POST, [(0, 0, 0), (0, 0, 1.0)], np.array([222.0, 222.0, 216.0]) * light, (0.07, 0.06))
    thing.add(POST, [(0, 0, 0.68), (0, 0, 0.86)], np.array([40.0, 40.0, 42.0]) * light, (0.065, 0.062))
    return thing


def lamp(light: np.ndarray) -> Thing:
    """A street lamp, 7.5 m high, its arm towards +y."""
    thing = Thing()
    steel = np.array([122.0, 126.0, 130.0]) * light
    thing.add(POST, [(0, 0, 0), (0, 0, 7.5)], steel, (0.09, 0.05))
    thing.add(POST, [(0, 0, 7.45), (0, 1.6, 7.6)], steel, (0.05, 0.05))
    thing.add(BALL, [(0, 1.6, 7.55)], steel * 1.2, (0.16, 0))
    return thing


def sign(rng: np.random.Generator, light: np.ndarray) -> Thing:
    """A traffic sign that faces the traffic (towards -x)."""
    thing = Thing()
    thing.add(POST, [(0, 0, 0), (0, 0, 2.4)], np.array([128.0, 130.0, 132.0]) * light, (0.045, 0.045))
    board = np.array([(44, 92, 168), (200, 52, 44), (228, 196, 60)][rng.integers(3)], float) * light
    for size, colour, ahead in ((0.42, board, 0.05), (0.26, np.array([232.0, 232.0, 228.0]) * light, 0.06)):
        corner = [
            (-ahead, size, 2.5 - size),
            (-ahead, -size, 2.5 - size),
            (-ahead, -size, 2.5 + size),
            (-ahead, size, 2.5 + size),
        ]
        thing.face(corner, colour)
    return thing


CAR_LENGTH, CAR_WIDTH = 4.5, 1.84


def car(paint: np.ndarray, light: np.ndarray, van: bool = False) -> Thing:
    """A car or van, its centre on the ground at the origin, 4.5 m by 1.84 m, x forward."""
    thing = Thing()
    body, glass = paint * light, np.array([40.0, 48.0, 58.0]) * light
    dark = np.array([28.0, 28.0, 30.0]) * light
    a, b, belt, roof = CAR_LENGTH / 2, CAR_WIDTH / 2, 0.88, 1.95 if van else 1.46
    thing.add(
        SHADOW,
        [(-a - 0.2, -b - 0.12, 0), (a + 0.1, -b - 0.12, 0), (a + 0.1, b + 0.12, 0), (-a - 0.2, b + 0.12, 0)],
        dark * 1.4,
    )
    thing.box((-a + 0.25, -b + 0.06, 0.0), (a - 0.25, b - 0.06, 0.34), [dark] * 5)
    thing.box((-a, -b, 0.27), (a, b, belt), [body * 0.85, body * 0.95, body * 0.75, body * 0.8, body * 1.08])
    low_x, high_x = ((-a, 1.15), (-a + 0.12, 0.7)) if van else ((-1.95, 1.0), (-1.35, 0.3))
    ring = [
        [(x, y, z) for x, y in ((xs[0], -w), (xs[1], -w), (xs[1], w), (xs[0], w))]
        for xs, w, z in ((low_x, b - 0.06, belt), (high_x, b - 0.22, roof))
    ]
    below, above = np.array(ring[0]), np.array(ring[1])
    for k, tone in ((0, 0.72), (1, 0.92), (2, 0.78), (3, 0.82)):  # right, front, left, rear
        m = (k + 1) % 4
        quad = np.array([below[k], below[m], above[m], above[k]])
        thing.face(quad, body * tone)
        thing.face(quad * 0.84 + quad.mean(0) * 0.16 + np.array([0, 0, 0.01]), glass)
    thing.face(above, body * 1.1)
    for side in (-1, 1):
        y0, y1 = sorted((side * (b - 0.05), side * (b - 0.42)))
        thing.face(
            [(-a - 0.01, y1, 0.6), (-a - 0.01, y0, 0.6), (-a - 0.01, y0, 0.78), (-a - 0.01, y1, 0.78)], (196, 30, 26)
        )
        thing.face(
            [(a + 0.01, y0, 0.56), (a + 0.01, y1, 0.56), (a + 0.01, y1, 0.74), (a + 0.01, y0, 0.74)], (244, 242, 224)
        )
        for x in (-1.4, 1.4):
            around = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False) * side
            wheel = np.stack(
                [x + 0.33 * np.cos(around), np.full(CORNERS, side * (b + 0.01)), 0.33 + 0.33 * np.sin(around)], 1
            )
            thing.face(wheel[::-1], dark)
    thing.face(
        [(-a - 0.01, 0.26, 0.46), (-a - 0.01, -0.26, 0.46), (-a - 0.01, -0.26, 0.57), (-a - 0.01, 0.26, 0.57)],
        np.array([214.0, 214.0, 206.0]) * light,
    )
    return thing
