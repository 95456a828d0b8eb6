"""A PhysicalAI-AV ego-motion table read as it is found: rows in any order, doubled or missing, each with its own words.

The table is one clip's: `timestamp` in int64 microseconds, about 100 Hz, the pose of the rig in an anchor frame (qx qy
qz qw, x y z in metres), its velocity, acceleration and curvature. physical_ai_av interpolates it: rotations by slerp,
places by cubic splines.
"""

import io

import numpy as np
import pandas as pd

from relane.errors import UndrivableError, first_line

COLUMNS = ("timestamp", "qx", "qy", "qz", "qw", "x", "y", "z", "vx", "vy", "vz", "ax", "ay", "az", "curvature")


def read_egomotion(content: bytes, label: str):
    """A table's bytes (parquet) as physical_ai_av's interpolator of `EgomotionState`.

    Rows may come in any order, and a row that is there twice counts once. Raises UndrivableError, starting with
    `label`, when the table cannot be read, lacks a column, holds NaN, has fewer than two rows, or tells two poses of
    one time.
    """
    from physical_ai_av.egomotion import EgomotionState

    try:
        table = pd.read_parquet(io.BytesIO(content)).reset_index(drop=True)
    except (OSError, ValueError) as error:
        raise UndrivableError(f"{label}: not a readable table ({first_line(error)}); fetch it again") from None
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise UndrivableError(f"{label}: the table lacks the column {', '.join(missing)}; leave the clip out")
    table = table[list(COLUMNS)]
    _refuse_nan(table, label)
    table = table.sort_values("timestamp", kind="stable").drop_duplicates()
    stamps = table["timestamp"].to_numpy(np.int64)
    if len(stamps) < 2:
        raise UndrivableError(f"{label}: {len(stamps)} rows, no motion can be told from them; leave the clip out")
    again = np.flatnonzero(np.diff(stamps) == 0)
    if len(again):
        raise UndrivableError(
            f"{label}: {len(again) + 1} or more rows share a time and differ, the first at {stamps[again[0]]} us: "
            "which pose holds cannot be told; fetch the table again, or leave the clip out"
        )
    try:
        return EgomotionState.from_egomotion_df(table).create_interpolator(stamps)
    except ValueError as error:
        raise UndrivableError(
            f"{label}: no poses can be made of it ({first_line(error)}); leave the clip out"
        ) from None


def _refuse_nan(table: pd.DataFrame, label: str) -> None:
    wrong = ~np.isfinite(table.to_numpy(np.float64))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        when = "" if wrong[row, 0] else f", the first at {table['timestamp'].iloc[row]} us"
        raise UndrivableError(
            f"{label}: NaN in {wrong.any(axis=1).sum()} rows, in the column {COLUMNS[column]}{when}; leave the clip out"
        )
