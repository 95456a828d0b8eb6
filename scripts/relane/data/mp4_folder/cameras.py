"""The calibration of a folder of MP4s: `cameras` by name and, where it is known, the `vehicle`.

A camera has width, height, cx, cy in pixels (integers at pixel centres), and either fx, fy (pinhole; k1, k2, p1, p2, k3
as in OpenCV where it distorts) or polynomial (f-theta: pixels per rad^i, constant first); position x, y, z in the rig
frame in metres, and qw, qx, qy, qz, which turns camera axes (x right, y down, z out of the lens) into the rig's.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from relane.data.camera import DISTORTION, FTheta, Pinhole, RigCamera
from relane.data.ego import Vehicle
from relane.data.mp4_folder.tables import POSE, UNIT
from relane.errors import InputError, UndrivableError
from relane.io.files import read_json

PICTURE = ("width", "height", "cx", "cy")
VEHICLE = ("length", "width", "height", "ahead")


def read_camera(path: Path, name: str) -> RigCamera | None:
    """A camera of the file; None where it has none of that name. Raises UndrivableError that names the key."""
    given = _part(path, "cameras").get(name)
    if given is None:
        return None
    where = f"{path}, camera {name}"
    fisheye = isinstance(given, dict) and "polynomial" in given
    lens = ("polynomial",) if fisheye else ("fx", "fy")
    found = _numbers(given, (*PICTURE, *lens, *POSE), () if fisheye else DISTORTION, where)
    length = math.hypot(*(found[key] for key in POSE[3:]))
    if abs(length - 1) > UNIT:
        raise UndrivableError(f"{where}: the length of the quaternion qw, qx, qy, qz is {length:.4g}; it must be 1")
    size = _pixels(found, "width", where), _pixels(found, "height", where)
    middle = found["cx"], found["cy"]
    if fisheye:
        model: FTheta | Pinhole = FTheta(*size, *middle, forward=found["polynomial"])
    else:
        distortion = tuple(found.get(key, 0.0) for key in DISTORTION)
        model = Pinhole(*size, *middle, fx=found["fx"], fy=found["fy"], distortion=distortion)
    rotation = Rotation.from_quat([found[key] for key in ("qx", "qy", "qz", "qw")])
    return RigCamera(model, rotation.as_matrix(), np.array([found[key] for key in POSE[:3]]))


def read_vehicle(path: Path) -> Vehicle | None:
    """The vehicle of the file; None where it has none. Raises UndrivableError as `read_camera`."""
    given = _part(path, "vehicle")
    return Vehicle(**_numbers(given, VEHICLE, (), f"{path}, vehicle")) if given else None


def _part(path: Path, name: str) -> dict[str, Any]:
    try:
        found = read_json(path)
    except InputError as error:
        raise UndrivableError(str(error)) from None
    part = found.get(name, {}) if isinstance(found, dict) else None
    if not isinstance(part, dict):
        raise UndrivableError(f"{path}: {name} is not an object; expected {{'cameras': {{...}}, 'vehicle': {{...}}}}")
    return part


def _numbers(given: Any, needed: tuple[str, ...], optional: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise UndrivableError(f"{where}: not an object; it needs {', '.join(needed)}")
    missing = [key for key in needed if key not in given]
    unknown = [key for key in given if key not in needed + optional]
    if missing or unknown:
        wrong = f"no {', '.join(missing)}" if missing else f"unknown {', '.join(unknown)}"
        further = f", and may have {', '.join(optional)}" if optional else ""
        raise UndrivableError(f"{where}: {wrong}; it needs {', '.join(needed)}{further}")
    for key, value in given.items():
        listed = key == "polynomial"
        values = value if listed and isinstance(value, list) and value else [None] if listed else [value]
        if not all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in values):
            raise UndrivableError(f"{where}: {key} is {value!r}, not {'a list of numbers' if listed else 'a number'}")
    return {key: tuple(map(float, value)) if key == "polynomial" else float(value) for key, value in given.items()}


def _pixels(found: Mapping[str, Any], key: str, where: str) -> int:
    if found[key] < 1 or found[key] != int(found[key]):
        raise UndrivableError(f"{where}: {key} is {found[key]}, not a number of pixels")
    return int(found[key])
