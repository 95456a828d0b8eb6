"""The tables of a folder of MP4s: ego motion and times of frames, read with errors that name file and line.

Times are microseconds in a column `t_us`, or seconds in a column `t_s`. Standard library only: planning reads them.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from relane.errors import InputError, UndrivableError, first_line
from relane.io.csvfile import read_csv

POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")
CLOCKS = ("t_us", "t_s")
# How far the length of a quaternion may be from 1: six decimals are near enough, degrees or metres are not.
UNIT = 0.01


def read_ego(path: Path) -> list[tuple[int, tuple[float, ...]]]:
    """Time in microseconds and pose (x, y, z in metres, qw, qx, qy, qz) of each row, in time's order.

    The file is a CSV table, or JSON: a list of objects with the same names. Raises UndrivableError, naming file and
    line, for a missing column, a cell that is no finite number, times that do not increase, a quaternion whose length
    is not 1, or fewer than two rows.
    """
    rows = []
    for where, row in _read(path, POSE):
        pose = tuple(_number(row, name, where) for name in POSE)
        length = math.hypot(*pose[3:])
        if abs(length - 1) > UNIT:
            raise UndrivableError(f"{where}: the length of the quaternion qw, qx, qy, qz is {length:.4g}; it must be 1")
        rows.append((_time(row, where), pose, where))
    if len(rows) < 2:
        raise UndrivableError(f"{path}: {len(rows)} rows, no motion can be told from them; it needs at least 2")
    _refuse_backwards((time, where) for time, _, where in rows)
    return [(time, pose) for time, pose, _ in rows]


def read_times(path: Path) -> list[int]:
    """The time of each frame in microseconds. Raises UndrivableError as `read_ego`."""
    rows = [(_time(row, where), where) for where, row in _read(path, ())]
    if not rows:
        raise UndrivableError(f"{path}: no times; give it a line a frame")
    _refuse_backwards(rows)
    return [time for time, _ in rows]


def _read(path: Path, columns: tuple[str, ...]) -> list[tuple[str, Mapping[str, Any]]]:
    """The rows, each with the words that name its place."""
    advice = f"it needs {', '.join((' or '.join(CLOCKS), *columns))}"
    if path.suffix == ".json":
        rows = [(f"{path} item {number}", row) for number, row in enumerate(_items(path), 1)]
    else:
        try:
            rows = [(f"{path} line {row.number}", row.cells) for row in read_csv(path, columns, advice, whole=True)]
        except InputError as error:
            raise UndrivableError(str(error)) from None
    for where, row in rows:
        missing = [name for name in columns if name not in row]
        if missing or not any(name in row for name in CLOCKS):
            raise UndrivableError(f"{where}: no {', '.join(missing or [' or '.join(CLOCKS)])}; {advice}")
    return rows


def _items(path: Path) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UndrivableError(f"{path}: cannot be read as JSON ({first_line(error)})") from None
    if not (isinstance(found, list) and all(isinstance(row, dict) for row in found)):
        raise UndrivableError(f"{path}: not a list of objects such as {{'t_us': 0, 'x': 0.0, ...}}")
    return found


def _number(row: Mapping[str, Any], name: str, where: str) -> float:
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        raise UndrivableError(f"{where}: {name} is {row[name]!r}, not a number") from None
    if not math.isfinite(value):
        raise UndrivableError(f"{where}: {name} is {row[name]}, not a finite number")
    return value


def _time(row: Mapping[str, Any], where: str) -> int:
    return round(_number(row, "t_us", where) if "t_us" in row else _number(row, "t_s", where) * 1e6)


def _refuse_backwards(rows: Iterable[tuple[int, str]]) -> None:
    before = None
    for time, where in rows:
        if before is not None and time <= before:
            raise UndrivableError(f"{where}: its time, {time} us, is not after that of the row before, {before} us")
        before = time
