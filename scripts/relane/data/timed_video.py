"""A video that others made, read: its frames with their true times, upright and in our colours.

Times are integers in microseconds on the video's own clock: for PhysicalAI-AV the data set's time stamps (from the
clip's start, the clock of its ego motion), for any other video the presentation time minus that of the first frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.stream import Disposition

from relane.data import any_video
from relane.errors import InputError
from relane.io import wide_colour
from relane.io.colour import rgb_array
from relane.io.video import open_video


@dataclass(frozen=True)
class Source:
    """A fetched source: the MP4 on this disk, the time of each frame when it came apart from the MP4, its name."""

    path: Path
    label: str  # what messages and records call it: the uri, not a temporary path
    times_us: np.ndarray | None = None  # (frames,) int64


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
    return any_video.aspect_refusal(any_video.pixel_aspect(stream), source.label)


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
    aspect = any_video.pixel_aspect(stream)
    count, first, last = 0, None, None
    with container:
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise InputError(f"{source.label}: frame {count} is damaged; copy or export the file again")
                if reason := any_video.refusal(frame, source.label):
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
    (`relane.io.wide_colour`); deeper than 8 bits is rounded to 8. The crop takes the last column or row, because
    yuv420p, which all our files are, has no odd sizes.
    """
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    if wide_colour.converts(primaries, transfer):
        image = wide_colour.to_bt709(rgb_array(frame, "rgb48le"), primaries, transfer)
    else:
        image = rgb_array(frame)
    if frame.opaque:
        image = cv2.resize(image, any_video.square_size(frame.width, frame.height, frame.opaque))
    transpose, horizontal, vertical = orientation(frame)
    if transpose:
        image = image.transpose(1, 0, 2)
    if horizontal:
        image = image[:, ::-1]
    if vertical:
        image = image[::-1]
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[: height - height % 2, : width - width % 2])
