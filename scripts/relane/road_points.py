"""Where the road is in the picture of a forward camera: the default prompt of SAM2."""

Point = tuple[float, float]

# Relative (x, y) from the top left, on the road ahead of a forward camera: the ego lane, near to far, and the near
# parts of its neighbours. Three of them are the thesis's; the last lies just above where a bonnet would be.
POINTS: tuple[Point, ...] = (
    (0.5, 0.85),
    (0.4, 0.75),
    (0.6, 0.75),
    (0.5, 0.7),
    (0.3, 0.85),
    (0.7, 0.85),
    (0.45, 0.8),
    (0.55, 0.8),
    (0.5, 0.92),
)
