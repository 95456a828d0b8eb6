"""Who else is there: trees, houses and posts along the road, and the other vehicles."""

from dataclasses import dataclass

import numpy as np

from simworld.world import objects
from simworld.world.driver import Leader
from simworld.world.look import Look, rng_of
from simworld.world.paint import Shapes
from simworld.world.road import Lanes, Road

FIRST, LAST = -170.0, 760.0  # metres of road that have something beside them
PAINTS = ((196, 198, 200), (58, 62, 68), (150, 32, 34), (38, 62, 112), (222, 222, 218), (96, 104, 98), (176, 160, 130))


@dataclass(frozen=True)
class Vehicle:
    """A vehicle at constant speed (m/s) in the lane at d; its centre is at road coordinate s at t = 0."""

    s: float
    d: float
    speed: float
    model: Shapes


def draw_traffic(seed: int, lanes: Lanes, speed: float, leader: Leader | None, look: Look) -> list[Vehicle]:
    """The slower car, if any, then others that never come near the ego car's path, nor into each other."""
    rng = rng_of(seed, "traffic")

    def model() -> Shapes:
        paint = np.array(PAINTS[rng.integers(len(PAINTS))], float)
        return Shapes.of(objects.car(paint, look.light, van=bool(rng.uniform() < 0.2)))

    models = [model() for _ in range(4)]
    faster, behind, third = rng.uniform(1.0, 3.5), rng.uniform(0.2, 1.5), rng.uniform(0.5, 2.5)
    start, back, far = rng.uniform(55, 110), rng.uniform(30, 60), rng.uniform(15, 80)
    present = rng.uniform(size=2) < 0.6
    vehicles = []
    if leader is not None:
        vehicles.append(Vehicle(leader.s + objects.CAR_LENGTH / 2, lanes.ego, leader.speed, models[0]))
    # Ahead on the left and faster, so the neighbour lane is free to change to.
    if present[0]:
        vehicles.append(Vehicle(start, lanes.neighbour, speed + faster, models[1]))
    vehicles.append(Vehicle(-back, lanes.neighbour, speed - behind - 1.0, models[2]))
    if present[1]:
        if lanes.left > 1:
            vehicles.append(Vehicle(far, lanes.neighbour + lanes.width, speed + third, models[3]))
        elif lanes.right > 1:
            vehicles.append(Vehicle(far, lanes.ego - lanes.width, speed - third, models[3]))
    return vehicles


def draw_scenery(seed: int, road: Road, look: Look) -> Shapes:
    """What stands beside the road, in the world frame."""
    rng = rng_of(seed, "scenery")
    right, left = road.lanes.asphalt
    wooded, built = rng.uniform(0.3, 1.0), rng.uniform(0.0, 0.5)
    lamps = rng.uniform() < 0.4
    placed = []

    def put(thing: objects.Thing, s: float, d: float, turn: float = 0.0) -> None:
        x, y, heading = (float(value) for value in road.pose(s, d))
        placed.append(Shapes.of(thing).placed(x, y, heading + turn))

    for side, border in ((-1, right), (1, left)):
        for s in np.arange(FIRST, LAST, 25.0):
            put(objects.delineator(look.light), s + 3 * side, border + side * 0.9)
        if lamps:
            for s in np.arange(FIRST, LAST, 38.0):
                put(objects.lamp(look.light), s + 11 * side, border + side * 1.7, 0.0 if side < 0 else np.pi)
        s = FIRST
        while s < LAST:
            s += rng.uniform(4, 15) / wooded
            away = border + side * rng.uniform(4.0, 20.0)
            kind = rng.uniform()
            if kind < built * 0.35:
                put(objects.house(rng, look.light), s, border + side * rng.uniform(13, 24), rng.uniform(-0.1, 0.1))
                s += 10
            elif kind < 0.75:
                put(objects.tree(rng, look.light), s, away)
            elif kind < 0.95:
                put(objects.bush(rng, look.light), s, border + side * rng.uniform(2.0, 7.0))
            elif side < 0:
                put(objects.sign(rng, look.light), s, border + side * rng.uniform(1.2, 2.0))
    return Shapes.joined(placed)


def bonnet(look: Look) -> Shapes:
    """The ego car's own bonnet, rig frame, as the front-wide camera sees it at the lower edge of its picture."""
    thing = objects.Thing()
    across = np.linspace(-1, 1, 6)
    front = np.stack([3.85 - 0.35 * across**2, 0.86 * across, 0.6 - 0.06 * across**2], 1)
    rear = np.array([[2.5, 0.95, 0.75], [2.5, -0.95, 0.75]])
    paint = np.array([70.0, 74.0, 82.0]) * look.light
    thing.add(objects.FACE, np.concatenate([front, rear]), paint * 0.8)
    shine = front * np.array([0.97, 0.9, 1.0])
    thing.add(objects.FACE, np.concatenate([shine, rear * np.array([1.05, 0.85, 1.0])]), paint)
    return Shapes.of(thing)
