"""A scene: one stretch of road, its look, its traffic and one drive along it; seen by any camera at any time."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from relane.errors import InputError
from relane.prompts.lanes import Attributes
from simworld.world.driver import Drive, Intent, Leader, may_cross, simulate
from simworld.world.ground import Ground, paint_ground
from simworld.world.look import ELEVATION, PANORAMA, draw_look, panorama, rng_of, wrapped
from simworld.world.paint import Shapes, draw
from simworld.world.rig import FRONT_WIDE, VEHICLE, Camera
from simworld.world.road import Road
from simworld.world.scenery import Vehicle, bonnet, draw_scenery, draw_traffic

T0_S = 5.1  # where the driving model plans in a PhysicalAI-AV clip, seconds from the clip's start
SIGHT = 170.0  # metres at which things beside the road appear out of the haze


class Frame(NamedTuple):
    """image (H, W, 3) uint8 RGB; road_mask, marking_mask (H, W) bool.

    The road is the asphalt in sight up to 250 m, without vehicles and whatever else stands before it; the marking is
    the paint of the lane lines (not of the edge lines) in sight up to 60 m.
    """

    image: np.ndarray
    road_mask: np.ndarray
    marking_mask: np.ndarray


@dataclass(frozen=True)
class _View:
    """What does not change from frame to frame in one camera."""

    camera: Camera
    ground: Any
    azimuth: np.ndarray
    row: np.ndarray


@lru_cache(maxsize=32)
def _view(name: str, width: int, height: int) -> _View:
    camera = Camera(name, width, height)
    azimuth, elevation = camera.sky()
    row = elevation / ELEVATION * (PANORAMA[0] - 1)
    column = (azimuth + np.pi) / (2 * np.pi) * PANORAMA[1]
    return _View(camera, camera.ground(), column.astype(np.float32), row.astype(np.float32))


class Scene:
    """One drive through one place. The same seed is the same place, traffic and driver, whatever the markings.

    `Scene(seed, a)` and `Scene(seed, b)` differ in paint and, where the rule says so, in the path driven: that pair
    is the true effect. `scene.repainted(b)` is the *same drive* with other paint, pixel-aligned: the ideal edit.

    Raises InputError for attributes that cannot be painted (unknown, mixed) and for impossible sizes.
    """

    def __init__(
        self,
        seed: int,
        attributes: Attributes,
        *,
        slower_car: bool = False,
        bonnet: bool = False,
        width: int = 320,
        height: int = 180,
        seconds: float = 14.0,
        t0_s: float = T0_S,
        drive: Drive | None = None,
    ) -> None:
        if {"unknown", "mixed"} & {attributes.count, attributes.color, attributes.pattern}:
            raise InputError(
                f"markings {attributes.slug()}: the world paints single|double, white|yellow, solid|dashed"
            )
        if not 0 < seconds <= 40:
            raise InputError(f"a drive of {seconds:g} s: the world has road for up to 40 s")
        self.seed, self.attributes, self.slower_car, self.bonnet = seed, attributes, slower_car, bonnet
        self.width, self.height, self.seconds, self.t0_s = width, height, seconds, t0_s
        self.road = Road(rng_of(seed, "road"))
        self.look = draw_look(seed)
        self.intent, self.leader = _draw_intent(seed, slower_car, t0_s)
        self.drive = drive or simulate(self.road, self.intent, self.leader, attributes, seconds)

    def repainted(self, attributes: Attributes) -> "Scene":
        """The same drive with other markings: the ideal edit."""
        return Scene(self.seed, attributes, **self._settings(), drive=self.drive)

    def driven(self, attributes: Attributes) -> "Scene":
        """What the driver does here under other markings: the true effect."""
        return Scene(self.seed, attributes, **self._settings())

    def _settings(self) -> dict[str, Any]:
        names = ("slower_car", "bonnet", "width", "height", "seconds", "t0_s")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def traffic(self) -> list[Vehicle]:
        """The other vehicles, the slower car first if there is one."""
        return draw_traffic(self.seed, self.road.lanes, self.intent.speed, self.leader, self.look)

    @cached_property
    def _scenery(self) -> Shapes:
        return draw_scenery(self.seed, self.road, self.look)

    @cached_property
    def _panorama(self) -> np.ndarray:
        return panorama(self.look, self.seed)

    def image(self, camera: str, t: float) -> np.ndarray:
        """The picture (H, W, 3) uint8 RGB of a camera at t seconds after the clip's start."""
        return self._draw(camera, t, None)[0]

    def render(self, camera: str, t: float) -> Frame:
        """The picture and its true masks."""
        hidden = np.zeros((self.height, self.width), np.uint8)
        image, ground = self._draw(camera, t, hidden)
        road, marking = np.zeros_like(hidden, bool), np.zeros_like(hidden, bool)
        top, seen = self.height // 2, hidden[self.height // 2 :] == 0
        road[top:], marking[top:] = ground.road & seen, ground.marking & seen
        return Frame(image, road, marking)

    def _draw(self, name: str, t: float, hidden: np.ndarray | None) -> tuple[np.ndarray, Ground]:
        view = _view(name, self.width, self.height)
        s, x, y, heading = self.drive.at(t)
        ground_map, c, sn = view.ground, np.float32(np.cos(heading)), np.float32(np.sin(heading))
        wx, wy = x + c * ground_map.x - sn * ground_map.y, y + sn * ground_map.x + c * ground_map.y
        guess = self.road.guess(x, y, heading, ground_map.x, ground_map.y)
        road_s, road_d = self.road.locate(wx, wy, guess)
        ground = paint_ground(road_s, road_d, ground_map.distance, self.road.lanes, self.attributes, self.look)
        image = np.empty((self.height, self.width, 3), np.uint8)
        column = wrapped(view.azimuth + np.float32(heading / (2 * np.pi) * PANORAMA[1]), PANORAMA[1])
        image[: ground_map.top] = cv2.remap(self._panorama, column, view.row, cv2.INTER_LINEAR)
        image[ground_map.top :] = cv2.merge(list(ground.rgb))
        shapes = self._in_sight(view.camera, t, s, x, y, heading)
        draw(shapes, image, hidden, view.camera, self.look.haze, self.look.visibility)
        return image, ground

    def _in_sight(self, camera: Camera, t: float, s: float, x: float, y: float, heading: float) -> Shapes:
        """Everything within the camera's field of view and sight, in the rig frame."""
        parts = [self._scenery.within(x, y, heading + camera.yaw, camera.half_fov + 0.35, SIGHT)]
        for vehicle in self.traffic:
            place = vehicle.s + vehicle.speed * t
            if abs(place - s) < SIGHT:
                parts.append(vehicle.model.placed(*(float(value) for value in self.road.pose(place, vehicle.d))))
        shapes = Shapes.joined(parts).seen_from(x, y, heading)
        if self.bonnet and camera.name == FRONT_WIDE:
            shapes = Shapes.joined([shapes, bonnet(self.look)])
        return shapes

    def project_road(self, camera: str, t: float, s: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (n, 2) of points of the road (road coordinates s, d in metres), and which (n,) are in the picture."""
        view = _view(camera, self.width, self.height)
        _, x, y, heading = self.drive.at(t)
        wx, wy, _ = self.road.pose(np.asarray(s, float), np.asarray(d, float))
        dx, dy = wx - x, wy - y
        c, sn = np.cos(heading), np.sin(heading)
        pixels, theta = view.camera.project(np.stack([dx * c + dy * sn, dy * c - dx * sn, 0 * dx], -1))
        inside = (pixels >= 0).all(-1) & (pixels[:, 0] <= self.width - 1) & (pixels[:, 1] <= self.height - 1)
        return pixels, inside & (theta < view.camera.half_fov * 1.2)

    def truth(self) -> dict[str, Any]:
        """What is known of this drive: markings, rule, path at t0 + 0.1 .. 6.4 s in the rig frame at t0, and more."""
        drive, lanes = self.drive, self.road.lanes
        _, x, y, heading = drive.at(self.t0_s)
        times = self.t0_s + 0.1 * np.arange(1, 65)
        times = times[times <= drive.t[-1]]
        px, py = np.interp(times, drive.t, drive.x) - x, np.interp(times, drive.t, drive.y) - y
        c, sn = np.cos(heading), np.sin(heading)
        path = np.stack([px * c + py * sn, py * c - px * sn], -1)
        return {
            "seed": self.seed,
            "attributes": {name: getattr(self.attributes, name) for name in ("count", "color", "pattern")},
            "slower_car": self.slower_car,
            "may_cross": may_cross(self.attributes),
            "changed_lane": drive.changed_lane,
            "noticed_s": drive.noticed_s,
            "t0_s": self.t0_s,
            "speed_at_t0": float(np.interp(self.t0_s, drive.t, drive.speed)),
            "path_xy": np.round(path, 4).tolist(),
            "lateral_at_end": float(np.interp(times[-1], drive.t, drive.d) - lanes.ego) if len(times) else None,
            "lanes": {"width": lanes.width, "left": lanes.left, "right": lanes.right, "shoulder": lanes.shoulder},
        }


def _draw_intent(seed: int, slower_car: bool, t0_s: float) -> tuple[Intent, Leader | None]:
    """The driver's wishes and the slower car, placed so that the driver notices it 0.2 to 1 s after t0."""
    rng = rng_of(seed, "driver")
    speed = float(rng.uniform(9.5, 12.5))
    offset, size = float(rng.uniform(-0.2, 0.2)), float(rng.uniform(0.04, 0.14))
    wander = (size, float(rng.uniform(7, 11)), float(rng.uniform(0, 6.28)))
    notice = float(rng.uniform(1.9, 2.2)) * speed
    slow, notices = speed * float(rng.uniform(0.5, 0.62)), t0_s + float(rng.uniform(0.2, 1.0))
    intent = Intent(speed, offset, wander, notice)
    if not slower_car:
        return intent, None
    front = VEHICLE["rear_axle_to_bbox_center"] + VEHICLE["length"] / 2
    # The simulation starts at t = -1 s with s = 0.
    return intent, Leader(speed * (notices + 1.0) + front + notice - slow * notices, slow)
