"""A video that was edited elsewhere, held against the clip that it shows: is it whole, how large, when is each frame.

Its header is not believed: every frame is decoded as those of a clip's source are, so that a turned, cut or damaged
file is seen before anything is driven with it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from relane.data import any_video, timed_video
from relane.data.external import MODEL_SIZE, PANELS, four_panels, mosaic_words
from relane.errors import InputError
from relane.io.colour import Colour

# Rates and aspect ratios that differ by less are the same: 29.97 of 30 fps, 1918 of 1920 columns.
_NEAR = 0.015


@dataclass
class Seen:
    """What decoding a whole video showed: `times_us` from its first frame, size as shown, what had to be changed."""

    source: timed_video.Source
    times_us: list[int]
    width: int
    height: int
    colour: Colour
    hidden: int  # frames that the file holds and its edit list does not show
    changes: list[str]
    rewrite: bool  # whether the file as it is would be read otherwise than it is shown

    @property
    def fps(self) -> float:
        """Frames per second by the frames' own times (median); 0 for a single frame."""
        return 1e6 / float(np.median(np.diff(self.times_us))) if len(self.times_us) > 1 else 0.0

    def images(self) -> Iterator[np.ndarray]:
        """The frames once more, (height, width, 3) uint8 RGB. Raises InputError as `timed_video.timed_frames`."""
        for _, frame in timed_video.timed_frames(self.source):
            image = timed_video.to_rgb(frame)
            same = image.shape[:2] == (self.height, self.width)
            yield image if same else cv2.resize(image, (self.width, self.height), interpolation=cv2.INTER_CUBIC)


def look(source: timed_video.Source) -> Seen:
    """Decode a video whole. Raises InputError where it is damaged, no picture, or changes its size."""
    container, stream = timed_video.open_source(source)
    with container:
        header, tracks = stream.frames, timed_video.tracks(container)
    timed = timed_video.timed_frames(source)
    first_us, first = next(timed)
    times, size = [first_us], (first.width, first.height)
    for now, frame in timed:
        if (frame.width, frame.height) != size:
            raise InputError(f"{source.label}: the frame size changes at frame {len(times)}; export it at one size")
        times.append(now)
    height, width = timed_video.to_rgb(first).shape[:2]
    changes = any_video.changes(first, timed_video.orientation(first), tracks)
    hidden, rewrite = max(header - len(times), 0), bool(changes)
    if hidden:
        changes.append(f"its edit list hides {hidden} of {header} frames; those that are shown are kept")
    return Seen(source, times, width, height, any_video.output_colour(first), hidden, changes, rewrite or bool(hidden))


def fit(seen: Seen, clip: dict[str, Any]) -> None:
    """Hold the picture's shape against the clip's; one at the original model's own size is stretched back.

    Raises InputError for the original VideoPainter's four panels, naming the file to take, and for any other shape.
    """
    label, width, height = seen.source.label, int(clip["width"]), int(clip["height"])
    aspect, wanted = seen.width / seen.height, width / height
    if abs(aspect / wanted - 1) < _NEAR:
        return
    if (seen.width, seen.height) == MODEL_SIZE:
        seen.changes.append(
            f"stretched from {seen.width}x{seen.height} to the clip's {width}x{height}: that size squashes the camera's"
        )
        seen.width, seen.height, seen.rewrite = width, height, True
        return
    if four_panels(seen.width, seen.height) or abs(aspect / wanted / PANELS - 1) < _NEAR:
        raise InputError(mosaic_words(label, seen.width, seen.height))
    raise InputError(
        f"{label}: {seen.width}x{seen.height} has another shape than the camera's {width}x{height}, so a driving model "
        f"would see another road; export the edit at {width}x{height}"
    )


def place(seen: Seen, clip: dict[str, Any] | None, known: list[int] | None, start_us: int) -> tuple[list[int], str]:
    """(time of each frame in microseconds, `sidecar` or `assumed`), noting in `seen.changes` what was decided.

    `known`: times of a JSON beside the video. Without it the first frame is at `start_us` and the others follow by the
    file's own times. Raises InputError where the JSON has too few times, where its rate and the file's disagree with
    another number of frames, or where the file's rate is not the clip's: its frames could have been taken at either.
    """
    label, count = seen.source.label, len(seen.times_us)
    if known is not None:
        return _by_json(seen, known), "sidecar"
    if clip is not None and count > 1:
        if not _near(seen.fps, float(clip["fps"])):
            rate, own = float(clip["fps"]), seen.fps
            raise InputError(
                f"{label}: it runs at {own:g} fps and the clip at {rate:g}, and nothing says at which of them its "
                f"{count} frames were taken. At {own:g}: set clip.fps to {own:g}. At {rate:g}, and only written at "
                f"{own:g}: ffmpeg -itsscale {own / rate:g} -i in.mp4 -c copy out.mp4. Otherwise put a JSON of the same "
                "name beside the video with t_us, the time of each frame in microseconds"
            )
        if count != int(clip["frames"]):
            seen.changes.append(f"{count} frames where the clip has {clip['frames']}: placed by their times")
    return [start_us + time for time in seen.times_us], "assumed"


def _near(a: float, b: float) -> bool:
    return abs(a / b - 1) < _NEAR


def _by_json(seen: Seen, known: list[int]) -> list[int]:
    label, count = seen.source.label, len(seen.times_us)
    if count > len(known):
        raise InputError(f"{label}: {count} frames, but its JSON has the times of {len(known)} only")
    if seen.hidden:
        raise InputError(
            f"{label}: its edit list hides {seen.hidden} frames, so that its JSON's times belong to others; "
            "export it without an edit list (ffmpeg -i in.mp4 -c:v libx264 -crf 12 out.mp4)"
        )
    if any(later <= earlier for earlier, later in itertools.pairwise(known)):
        raise InputError(f"{label}: the t_us of its JSON do not increase; export both again")
    rate = 1e6 / float(np.median(np.diff(known))) if len(known) > 1 else 0.0
    if count > 1 and not _near(seen.fps, rate):
        if count != len(known) and abs(count / seen.fps - len(known) / rate) < 2 / min(seen.fps, rate):
            raise InputError(
                f"{label}: {count} frames at {seen.fps:g} fps last as long as its JSON's {len(known)} times at "
                f"{rate:g} fps, so it was resampled and the times are of other frames; export both together"
            )
        seen.changes.append(f"written at {seen.fps:g} fps, placed at {rate:g} by the times of its JSON")
    if count < len(known):
        seen.changes.append(f"{count} frames where its JSON has {len(known)} times: the first ones")
    return known[:count]
