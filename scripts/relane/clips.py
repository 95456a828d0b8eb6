"""Foreign video in: fetch a source, read its frames with their true times, pick a window of them by time.

Times are integers in microseconds on the source's own clock: for PhysicalAI-AV the data set's time stamps (from the
clip's start, the clock of its ego motion), for any other video the presentation time minus that of the first frame.
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
import cv2
import numpy as np
from av.stream import Disposition

from relane import foreign, wide_colour
from relane.addresses import path_of
from relane.colour import rgb_array
from relane.errors import FetchError, InputError
from relane.files import sha256_file
from relane.sources import ZIP_FAULTS, checksum_of, filesystem
from relane.video import open_video


@dataclass(frozen=True)
class Source:
    """A fetched source: the MP4 on this disk, the time of each frame when it came apart from the MP4, its name."""

    path: Path
    label: str  # what messages and records call it: the uri, not a temporary path
    times_us: np.ndarray | None = None  # (frames,) int64


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
    first_line = (str(error).splitlines() or [""])[0][:200]
    return FetchError(
        f"{label}: cannot be fetched ({type(error).__name__}: {first_line}); check the name and your login"
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
        from relane.pai import open_dataset

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


# Reading


def open_source(source: Source) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a source and choose its video stream (the caller closes the container).

    Raises InputError when it is missing, empty, no video, or shorter than its own index says (a copy cut short).
    """
    try:
        container = open_video(source.path)
    except InputError as error:
        raise InputError(str(error).replace(str(source.path), source.label)) from None
    stream = container.streams.best("video")  # not a cover picture, which is a video stream too
    stream.thread_type = "AUTO"
    wrong = _wrong_in_header(source, stream)
    if wrong:
        container.close()
        raise InputError(f"{source.label}: {wrong}")
    return container, stream


def _wrong_in_header(source: Source, stream: av.VideoStream) -> str | None:
    size = source.path.stat().st_size
    if any(entry.pos + entry.size > size for entry in stream.index_entries):
        return (
            f"the file is cut short: its index reaches past its end ({size} bytes); {_decodable(source.path)} of "
            f"{stream.frames or 'its'} frames can be decoded; copy or export it again"
        )
    if source.times_us is not None and stream.frames and stream.frames != len(source.times_us):
        return f"{stream.frames} frames but {len(source.times_us)} time stamps"
    return foreign.aspect_refusal(foreign.pixel_aspect(stream), source.label)


def tracks(container: av.container.InputContainer) -> list[str]:
    """The file's moving pictures in words, the one that is read first; cover pictures are none."""
    read = container.streams.best("video")
    films = [one for one in container.streams.video if one is read or not one.disposition & Disposition.attached_pic]
    return [f"{one.index} ({one.width}x{one.height})" for one in sorted(films, key=lambda one: one is not read)]


def _decodable(path: Path) -> int:
    count = 0
    with open_video(path) as container:
        try:
            for _ in container.decode(container.streams.best("video")):
                count += 1
        except av.error.FFmpegError:
            pass
    return count


def timed_frames(source: Source) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield (time in µs on the source's clock, decoded frame) in display order, holding one frame at a time.

    Raises InputError where decoding breaks (saying how many frames came before), where a frame has no time or times
    run backwards, where it is no picture that can be read (interlaced, no finished colours), and when there are no
    frames, or fewer or more than time stamps. Frames whose pixels are not square carry their shape as `opaque`.
    """
    container, stream = open_source(source)
    aspect = foreign.pixel_aspect(stream)
    count, first, last = 0, None, None
    with container:
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise InputError(f"{source.label}: frame {count} is damaged; copy or export the file again")
                if reason := foreign.refusal(frame, source.label):
                    raise InputError(f"{source.label}: {reason}")
                frame.opaque = None if aspect == 1 else aspect
                if source.times_us is not None:
                    if count == len(source.times_us):
                        raise InputError(f"{source.label}: more frames than its {count} time stamps")
                    now = int(source.times_us[count])
                else:
                    stamp = frame.pts if frame.pts is not None else frame.dts
                    if stamp is None:
                        raise InputError(f"{source.label}: frame {count} has no time; remux it into an MP4")
                    now = round(stamp * frame.time_base * 1_000_000)
                    first = now if first is None else first
                    now -= first
                if last is not None and now <= last:
                    raise InputError(f"{source.label}: time stands still or runs backwards at frame {count}; remux it")
                yield now, frame
                count, last = count + 1, now
        except av.error.FFmpegError as error:
            raise InputError(
                f"{source.label}: the file is damaged: decoding broke after {count} frames "
                f"({type(error).__name__}); copy or export it again"
            ) from None
    if not count:
        raise InputError(f"{source.label}: no frame can be decoded; is the file complete?")
    if source.times_us is not None and count < len(source.times_us):
        raise InputError(f"{source.label}: {count} frames can be decoded but it has {len(source.times_us)} time stamps")


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


# Pixels


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, flip horizontally, flip vertically), in this order, that show a frame as it was meant to be seen.

    From the display matrix that phones and action cameras write ([a b; c d] of ISO 14496-12: x' = ax + cy,
    y' = bx + dy). Rotations that are not by a right angle are taken to the nearest.
    """
    matrices = [side for side in frame.side_data if side.type.name == "DISPLAYMATRIX"]
    if not matrices:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrices[0]), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB: upright, square pixels, cropped by one pixel where H or W is odd.

    The YUV matrix, range and chroma's place are those that the frame declares; frames that declare no matrix are read
    as BT.601, as PyAV and PhysicalAI-AV's own reader do. Wide gamuts and HDR are brought to BT.709
    (`relane.wide_colour`); deeper than 8 bits is rounded to 8. The crop takes the last column or row, because yuv420p,
    which all our files are, has no odd sizes.
    """
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    if wide_colour.converts(primaries, transfer):
        image = wide_colour.to_bt709(rgb_array(frame, "rgb48le"), primaries, transfer)
    else:
        image = rgb_array(frame)
    if frame.opaque:
        image = cv2.resize(image, foreign.square_size(frame.width, frame.height, frame.opaque))
    transpose, horizontal, vertical = orientation(frame)
    if transpose:
        image = image.transpose(1, 0, 2)
    if horizontal:
        image = image[:, ::-1]
    if vertical:
        image = image[::-1]
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[: height - height % 2, : width - width % 2])
