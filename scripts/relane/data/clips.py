"""Foreign video in: fetch a source, and pick a window of its frames by time.

Frames are picked by time and never by index, because cameras drop frames and phones record at a variable rate.
"""

import math
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

import av
import numpy as np

from relane.addresses import path_of
from relane.data.sources import checksum_of, filesystem
from relane.data.timed_video import Source
from relane.errors import FetchError, InputError, first_line
from relane.io.content import ZIP_FAULTS
from relane.io.files import sha256_file


@dataclass(frozen=True)
class Picked:
    """One frame of the window: the time asked for, the time of the frame that was taken for it, and that frame."""

    wanted_us: int
    t_us: int
    frame: av.VideoFrame


# Fetching


def fetch(uri: str, pai_root: str, clip_id: str, camera: str, checksum: str, folder: Path) -> Source:
    """Bring one row of the clip sheet to this disk; what must be copied or unpacked goes into `folder`.

    A local MP4 is read where it is. Raises InputError when the source is missing, cannot be read, or does not have
    the sheet's checksum (`<algorithm>:<value>`, blank: not checked).
    """
    if path_of(uri).endswith(".zip") or not uri:
        return _from_pai(uri, pai_root, clip_id, camera, checksum, folder)
    scheme, _, rest = uri.partition("://")
    if rest and scheme != "file":
        return Source(_download(uri, checksum, folder), uri)
    path = Path(rest or uri)
    if path.is_file():
        _verify(path, checksum, uri)
    return Source(path, uri)


def _verify(path: Path, checksum: str, label: str) -> None:
    algorithm, _, value = checksum.partition(":")
    if algorithm == "sha256":
        found = sha256_file(path)
    elif algorithm in ("md5", "crc32"):
        digest, crc = md5(usedforsecurity=False), 0
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                crc = zlib.crc32(block, crc)
        found = digest.hexdigest() if algorithm == "md5" else f"{crc:08x}"
    elif algorithm in ("", "generation", "etag"):  # the latter two name a state of a remote object, not bytes
        return
    else:
        raise InputError(f"{label}: the clip sheet's checksum {checksum!r} is of no known kind")
    if found != value:
        raise InputError(
            f"{label}: its {algorithm} is {found}, the clip sheet says {value}: the file changed or was not copied "
            "whole; if the change is meant, run scripts/resolve_clips.py --refresh"
        )


def _download(uri: str, checksum: str, folder: Path) -> Path:
    target = folder / "source.mp4"
    try:
        fs, path = filesystem(uri)
        if checksum.startswith(("generation:", "etag:")) and checksum_of(fs.info(path)) != checksum:
            raise InputError(f"{uri}: changed since it was listed; run scripts/resolve_clips.py --refresh")
        fs.get_file(path, str(target))
    except InputError:
        raise
    except Exception as error:  # every store has its own errors; all of them mean "cannot fetch"
        raise _cannot_fetch(uri, error) from None
    _verify(target, checksum, uri)
    return target


def _cannot_fetch(label: str, error: Exception) -> FetchError:
    return FetchError(
        f"{label}: cannot be fetched ({type(error).__name__}: {first_line(error)}); check the name and your login"
    )


def _from_pai(uri: str, pai_root: str, clip_id: str, camera: str, checksum: str, folder: Path) -> Source:
    """Unpack a clip's MP4 and time stamps from PhysicalAI-AV's chunk zip: a local file, or streamed."""
    if uri:
        label = f"{uri}:{clip_id}.{camera}.mp4"
        if not Path(uri).is_file():
            raise InputError(f"{uri}: no such file; fetch this chunk of the data set")
        path, times = _unpack(Path(uri), label, clip_id, camera, folder)
    else:
        label = f"{pai_root}:{clip_id}.{camera}.mp4"
        from relane.data.physical_ai_av.roots import open_dataset

        try:
            dataset = open_dataset(pai_root)
            filename = dataset.features.get_chunk_feature_filename(dataset.get_clip_chunk(clip_id), camera)
            with dataset.open_file(filename, maybe_stream=True) as file:
                path, times = _unpack(file, label, clip_id, camera, folder)
        except InputError:
            raise
        except Exception as error:  # no such clip or camera, network, gate: each has its own class
            raise _cannot_fetch(label, error) from None
    _verify(path, checksum, label)
    return Source(path, label, times)


def _unpack(archive: object, label: str, clip_id: str, camera: str, folder: Path) -> tuple[Path, np.ndarray]:
    target, stamps = folder / "source.mp4", folder / "timestamps.parquet"
    try:
        with zipfile.ZipFile(archive) as opened:
            for member, path in (("mp4", target), ("timestamps.parquet", stamps)):
                with opened.open(f"{clip_id}.{camera}.{member}") as packed, open(path, "wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except KeyError as error:
        raise InputError(f"{label}: {error.args[0]}; is the clip in another chunk?") from None
    except (*ZIP_FAULTS, OSError) as error:
        raise InputError(f"{label}: cannot be unpacked ({error}); fetch the chunk again") from None
    return target, _time_stamps(stamps, label)


def _time_stamps(path: Path, label: str) -> np.ndarray:
    """(frames,) int64 microseconds of a clip's `timestamps.parquet`. Raises InputError where they are no times."""
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{label}: its time stamps cannot be read ({error}); fetch the chunk again") from None
    if "timestamp" not in table.column_names:
        raise InputError(f"{label}: its time stamps have no column 'timestamp'; fetch the chunk again")
    column = table["timestamp"]
    if column.null_count or not pyarrow.types.is_integer(column.type):
        raise InputError(f"{label}: its time stamps are missing in places or no whole microseconds")
    times = column.to_numpy().astype(np.int64)
    if len(times) == 0 or (np.diff(times) <= 0).any():
        at = int(np.argmax(np.diff(times) <= 0)) + 1 if len(times) else 0
        raise InputError(
            f"{label}: its time stamps are empty or do not increase (frame {at}); which frame is of which time cannot "
            "be told: fetch the chunk again, or leave the clip out"
        )
    return times


# Picking by time


def wanted_times(first_us: int, fps: float, max_frames: int, t0_us: int, ends_there: bool) -> list[int]:
    """The times to look for: `t0_us` + j/fps in µs for consecutive whole j, ascending, at most `max_frames`.

    They start as early as `first_us` allows, or, with `ends_there`, they end at `t0_us` and start no earlier. Either
    way the grid goes through t0 exactly, so that at 10 fps a driving model's t0-0.3 s ... t0 are on it.
    """
    back = math.floor((t0_us - first_us) * fps / 1e6)
    steps = range(-min(back, max_frames - 1), 1) if ends_there else range(-back, max_frames - back)
    return [t0_us + round(step * 1e6 / fps) for step in steps]


def pick_nearest(frames: Iterable[tuple[int, av.VideoFrame]], wanted: list[int], slack_us: int) -> Iterator[Picked]:
    """For each wanted time (ascending) the frame nearest to it; of two equally near ones the earlier.

    Stops after the last wanted time, or where the source has ended: past its last frame only times within `slack_us`
    are served. Holds two frames, whatever the source's length.
    """
    wanted_left = iter(wanted)
    target = next(wanted_left, None)
    before: tuple[int, av.VideoFrame] | None = None
    for now, frame in frames:
        while target is not None and target <= now:
            earlier = before is not None and target - before[0] <= now - target
            yield Picked(target, *(before if earlier else (now, frame)))
            target = next(wanted_left, None)
        if target is None:
            return
        before = (now, frame)
    while before is not None and target is not None and target <= before[0] + slack_us:
        yield Picked(target, *before)
        target = next(wanted_left, None)


def pick_before(frames: Iterable[tuple[int, av.VideoFrame]], wanted: list[int], slack_us: int) -> Iterator[Picked]:
    """For each wanted time (ascending) the last frame that is not after it, as PhysicalAI-AV's own loader takes it.

    Times before the first frame are left out, and so are those more than `slack_us` after the last one. Holds two
    frames, whatever the source's length.
    """
    left = iter(wanted)
    target = next(left, None)
    before: tuple[int, av.VideoFrame] | None = None
    for now, frame in frames:
        while target is not None and target < now:
            if before is not None:
                yield Picked(target, *before)
            target = next(left, None)
        if target is None:
            return
        before = (now, frame)
    while before is not None and target is not None and target <= before[0] + slack_us:
        yield Picked(target, *before)
        target = next(left, None)
