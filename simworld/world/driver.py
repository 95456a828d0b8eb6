"""The driver of the synthetic world: a kinematic bicycle whose driver keeps its lane and obeys the lane line.

The rule, and the only way in which markings act on the path: behind a slower car it changes to the left lane where
the line between is single and dashed, and slows and stays where the line is solid or double. Colour has no effect.
Car following is the Intelligent Driver Model (Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000, eq. 2-3).
"""

from dataclasses import dataclass

import numpy as np

from relane.prompts.lanes import Attributes
from simworld.world.rig import VEHICLE
from simworld.world.road import Road

DT = 0.01  # PhysicalAI-AV records ego motion at about 100 Hz
BEFORE, AFTER = 1.0, 1.0  # seconds recorded before the clip's start and after its end
LANE_CHANGE_S = 4.0


@dataclass(frozen=True)
class Intent:
    """What the driver has in mind, whatever the markings: drawn once a scene, so that all markings share it."""

    speed: float  # wished, m/s
    offset: float  # from the lane's centre, metres to the left
    wander: tuple[float, float, float]  # slow weave: size in metres, period in seconds, phase
    notice_gap: float  # bumper-to-bumper gap at which a slower car makes the driver act, metres


@dataclass(frozen=True)
class Leader:
    """A slower car in the ego lane at constant speed: its rear bumper at road coordinate s at t = 0."""

    s: float
    speed: float


@dataclass(frozen=True)
class Drive:
    """A recorded drive at 100 Hz, arrays (n,) float64: seconds, road coordinates, world pose of the rear axle, m/s,
    m/s^2, 1/m. `noticed_s` is when the slower car made the driver act (None: never), `changed_lane` what it did."""

    t: np.ndarray
    s: np.ndarray
    d: np.ndarray
    x: np.ndarray
    y: np.ndarray
    heading: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray
    curvature: np.ndarray
    noticed_s: float | None
    changed_lane: bool

    def at(self, t: float) -> tuple[float, float, float, float]:
        """s, x, y, heading at time t in seconds (linear between the records)."""
        return tuple(float(np.interp(t, self.t, values)) for values in (self.s, self.x, self.y, self.heading))


def may_cross(attributes: Attributes) -> bool:
    """The traffic rule: only a single dashed line may be crossed."""
    return attributes.count == "single" and attributes.pattern == "dashed"


def following(speed: float, wished: float, gap: float, leader_speed: float) -> float:
    """The Intelligent Driver Model's acceleration in m/s^2 for a bumper-to-bumper gap in metres."""
    comfortable, braking, headway, standstill = 1.3, 1.8, 1.3, 3.0
    closing = speed * (speed - leader_speed) / (2 * np.sqrt(comfortable * braking))
    wanted = standstill + max(0.0, speed * headway + closing)
    return comfortable * (1 - (speed / wished) ** 4 - (wanted / max(gap, 0.5)) ** 2)


def _lane_change(progress: float) -> tuple[float, float, float]:
    """A quintic from 0 to 1 with its first and second derivative, at rest at both ends."""
    p = min(max(progress, 0.0), 1.0)
    if p in (0.0, 1.0):
        return p, 0.0, 0.0
    return p**3 * (10 - 15 * p + 6 * p * p), 30 * p**2 * (1 - p) ** 2, 60 * p * (1 - p) * (1 - 2 * p)


class _Driver:
    """Where the driver wants to be across the road, with first and second time derivative, and how fast."""

    def __init__(self, road: Road, intent: Intent, leader: Leader | None, attributes: Attributes) -> None:
        self.lanes, self.intent, self.leader = road.lanes, intent, leader
        self.may_cross = may_cross(attributes)
        self.noticed_s: float | None = None

    def lateral(self, t: float) -> tuple[float, float, float]:
        size, period, phase = self.intent.wander
        rate = 2 * np.pi / period
        angle = rate * t + phase
        d = self.lanes.ego + self.intent.offset + size * np.sin(angle)
        speed, acceleration = size * rate * np.cos(angle), -size * rate**2 * np.sin(angle)
        if self.noticed_s is None or not self.may_cross:
            return d, speed, acceleration
        way, first, second = _lane_change((t - self.noticed_s) / LANE_CHANGE_S)
        width = self.lanes.neighbour - self.lanes.ego
        return d + width * way, speed + width * first / LANE_CHANGE_S, acceleration + width * second / LANE_CHANGE_S**2

    def acceleration(self, t: float, s: float, speed: float) -> float:
        free = float(np.clip(0.5 * (self.intent.speed - speed), -2.0, 1.3))
        if self.leader is None:
            return free
        front = VEHICLE["rear_axle_to_bbox_center"] + VEHICLE["length"] / 2
        gap = self.leader.s + self.leader.speed * t - (s + front)
        if self.noticed_s is None and gap < self.intent.notice_gap:
            self.noticed_s = t
        if self.noticed_s is None or self.may_cross:
            return free
        return min(free, following(speed, self.intent.speed, gap, self.leader.speed))


def simulate(road: Road, intent: Intent, leader: Leader | None, attributes: Attributes, seconds: float) -> Drive:
    """Drive from t = -1 s to `seconds` + 1 s, starting at s = 0 in the ego lane."""
    times = np.arange(round(-BEFORE / DT), round((seconds + AFTER) / DT) + 1) * DT
    driver = _Driver(road, intent, leader, attributes)
    d, first, _ = driver.lateral(times[0])
    s, speed, turn, acceleration, steering = 0.0, intent.speed, first / intent.speed, 0.0, 0.0
    stiffness, damping = 1.6**2, 2 * 0.9 * 1.6  # of the lane keeper: 1.6 rad/s, nearly critically damped
    records = []
    for t in times:
        curvature = np.tan(steering) / VEHICLE["wheelbase"]
        records.append((s, d, turn, speed, acceleration, curvature))
        wish, wish_speed, wish_acceleration = driver.lateral(t)
        bend = float(road.curvature_at(s))
        sideways = wish_acceleration + stiffness * (wish - d) + damping * (wish_speed - speed * np.sin(turn))
        wanted = np.arctan(VEHICLE["wheelbase"] * (bend / (1 - bend * d) + sideways / max(speed, 2.0) ** 2))
        # Actuators: steering and pedals answer with a lag, and the wheel turns at most 0.6 rad/s.
        steering += float(np.clip((wanted - steering) * DT / 0.12, -0.6 * DT, 0.6 * DT))
        acceleration += (driver.acceleration(t, s, speed) - acceleration) * DT / 0.25
        along = speed * np.cos(turn) / (1 - bend * d)
        turn_mid = turn + (speed * curvature - bend * along) * DT / 2
        along = speed * np.cos(turn_mid) / (1 - bend * d)
        s, d = s + along * DT, d + speed * np.sin(turn_mid) * DT
        turn += (speed * curvature - bend * along) * DT
        speed = max(0.0, speed + acceleration * DT)
    s, d, turn, speed, acceleration, curvature = np.array(records).T
    x, y, heading = road.pose(s, d)
    changed = driver.noticed_s is not None and driver.may_cross
    noticed = None if driver.noticed_s is None else float(driver.noticed_s)
    return Drive(times, s, d, x, y, heading + turn, speed, acceleration, curvature, noticed, changed)
