"""Video files by PyAV: frames in and out as RGB uint8 arrays.

Our own files are H.264, yuv420p, constant rate, no B-frame delay at the start, so that frame i of the file is
frame i of the array; they say which colours they hold (`relane.io.colour`). Reading foreign files, with their rotation,
variable rate and damage, is `relane.data.timed_video`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from relane.errors import InputError
from relane.io.colour import Colour, apply_tags, colour_of, from_rgb, rgb_array
from relane.io.files import atomic_file


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself: size in pixels, frames per second, number of frames, colour."""

    width: int
    height: int
    fps: float
    frames: int
    colour: Colour


def open_video(path: str | Path) -> av.container.InputContainer:
    """Open a file for decoding. Raises InputError when it is missing, empty, no video, or damaged."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); fetch or export it again")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path}: not a readable video ({error.__class__.__name__}); is it complete?") from None
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: the file holds no video stream")
    return container


def probe(path: str | Path) -> VideoInfo:
    """Size, rate, count and colour of one of our own files (the count is read from the header, or counted)."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        frames = stream.frames or sum(1 for _ in container.decode(stream))
        context = stream.codec_context
        return VideoInfo(context.width, context.height, float(stream.average_rate), frames, colour_of(context))


def iter_frames(path: str | Path) -> Iterator[np.ndarray]:
    """Yield the frames of a file in order, each (H, W, 3) uint8 RGB. Raises InputError where decoding breaks."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for frame in container.decode(stream):
                yield rgb_array(frame)
        except av.error.FFmpegError as error:
            raise InputError(f"{path}: decoding broke ({error.__class__.__name__}); the file is damaged") from None


def read_frames(path: str | Path) -> np.ndarray:
    """All frames of a file as (T, H, W, 3) uint8 RGB."""
    frames = list(iter_frames(path))
    if not frames:
        raise InputError(f"{path}: the file holds no frames")
    return np.stack(frames)


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, crf: int = 18, colour: Colour | None = None
) -> int:
    """Write frames (H, W, 3) uint8 RGB, H and W even, as H.264 yuv420p; returns how many were written.

    `colour` says what the frames are and what the file is tagged as (default BT.601): for frames that were read from
    one of our files, that file's (`probe(path).colour`). The file appears whole or not at all, and the same frames
    give the same bytes. Nothing is kept in memory but the encoder's own look-ahead, so `frames` may be a generator of
    any length.
    """
    rate, colour = Fraction(fps).limit_denominator(1001), colour or Colour()
    count = 0
    # `movflags faststart` puts the index first: the report's players need not read the whole file.
    options = {"movflags": "faststart"}
    with atomic_file(path) as partial, av.open(str(partial), "w", options=options) as container:
        stream = None
        for frame in frames:
            frame = np.ascontiguousarray(frame)
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
                raise ValueError(f"frame {count}: expected (H, W, 3) uint8, got {frame.shape} {frame.dtype}")
            if stream is None:
                height, width = frame.shape[:2]
                if height % 2 or width % 2:
                    raise ValueError(f"{width}x{height}: yuv420p needs an even width and height")
                stream = container.add_stream("libx264", rate=rate)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                # Bytes that do not depend on the machine: one thread, no B-frames, and x264's macroblock tree without
                # its approximate SIMD arithmetic, which differs between processors and reads past narrow pictures.
                stream.codec_context.thread_count = 1
                exact = {"bf": "0", "x264-params": "cpu-independent=1"}
                stream.options = {"crf": str(crf), "preset": "medium", **exact}
                apply_tags(stream.codec_context, colour)
            for packet in stream.encode(from_rgb(frame, colour)):
                container.mux(packet)
            count += 1
        if stream is None:
            raise ValueError(f"{path}: no frames to write")
        for packet in stream.encode():
            container.mux(packet)
    return count
