"""Make one clip (MP4 and JSON sidecar) from one source: decoded with the true time of each frame, resampled by time.

The source is a row of the clip sheet: a local MP4, any fsspec URL of one, or a PhysicalAI-AV camera chunk zip. The
clip is H.264, yuv420p, constant rate. With `--anchor t0` it is the window that ends at `--t0-us`, with `--anchor start`
the first frames. The sidecar records, for each frame of the clip, the time that was wanted and that of the frame taken.
For a clip that is driven (`--pai-root`) the frame taken is the last at or before the wanted time, as the data set's own
loader does it; for any other video it is the nearest. The times of an MP4 that is driven are the data set's.

With `--record-failures true` a source that cannot be used is no error: the sidecar gets `status: skipped` and the
reason, the MP4 is an empty file, and later stages leave the clip out.
"""

import argparse
import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from relane import cli
from relane.addresses import hide
from relane.config.arguments import add_options
from relane.config.sections.clip import Clip
from relane.data import any_video, clips, timed_video
from relane.errors import FetchError, InputError, UndrivableError
from relane.io.files import sha256_file, write_json, write_text
from relane.io.video import write_video


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--uri", type=hide, default="", help="the MP4 (path or URL), or a camera chunk zip; blank: from --pai-root")
    add("--pai-root", default="", help="PhysicalAI-AV folder or hf://repo@revision; blank: no ego motion")
    add("--clip-id", required=True)
    add("--camera", required=True)
    add("--checksum", default="", help="<algorithm>:<value> of the clip sheet; blank: not checked")
    add("--t0-us", type=int, default=Clip().t0_us, help="planning instant, microseconds on the source's clock")
    add_options(p, Clip, leave_out=("t0_us",))
    p.set_defaults(record_failures=False)  # by hand a failure is a failure
    add("--last-attempt", type=cli.true_or_false, default=True, help="false: what may pass is not recorded yet")
    add("--output", required=True, help="the clip, MP4")
    add("--sidecar", required=True, help="its record, JSON")
    return p


def run(args: argparse.Namespace) -> None:
    """Fetch, decode, pick and write one clip. Raises InputError on a bad source; then neither output is written.

    Where failures are to be recorded, both are, and say so; what may pass is recorded at the last attempt only.
    """
    Clip.of(args)
    # It stands for both files: cut off, no new clip stands beside an old record.
    Path(args.sidecar).unlink(missing_ok=True)
    try:
        record = make(args)
    except InputError as error:
        if not args.record_failures or (isinstance(error, FetchError) and not args.last_attempt):
            raise
        print(f"skipped: {error}", file=sys.stderr)
        write_text(args.output, "")
        record = failure(args, error)
    write_json(args.sidecar, record)


def failure(args: argparse.Namespace, error: InputError) -> dict:
    """The sidecar of a source that cannot be used."""
    return {
        "video": f"{args.clip_id}.{args.camera}",
        "clip_id": args.clip_id,
        "camera": args.camera,
        "status": "skipped",
        "reason": str(error),
        "source": {"uri": args.uri, "pai_root": args.pai_root},
        "fps": args.fps,
        "min_frames": args.min_frames,  # another value may make it usable
        "frames": 0,
        "t_us": [],
    }


def make(args: argparse.Namespace) -> dict:
    """Write the clip; its record."""
    with tempfile.TemporaryDirectory(prefix="relane-clip-") as folder:
        source = clips.fetch(args.uri, args.pai_root, args.clip_id, args.camera, args.checksum, Path(folder))
        source, times_from = with_times(args, source)
        window = Window(args, source, times_from)
        window.write()
        return window.record() | {"sha256": sha256_file(args.output)}


def with_times(args: argparse.Namespace, source: timed_video.Source) -> tuple[timed_video.Source, str]:
    """The source with the data set's time of each frame, where it is an MP4 that is driven; and what was assumed.

    An MP4 that was cut out of the data set has as many frames as the data set has times; of another one only the first
    time can be used, and where there is none the first frame is assumed to be at 0.
    """
    if source.times_us is not None or not args.pai_root:
        return source, ""
    from relane.data import open_clip

    try:
        times = open_clip(args.pai_root, args.clip_id).times(args.camera)
    except UndrivableError:  # of no matter for the edit; the driving stage names it
        times = None
    if times is None:
        return source, "assumed: its first frame at 0"
    container, stream = timed_video.open_source(source)
    with container:
        frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.pts is not None)
    if frames == len(times):
        return dataclasses.replace(source, times_us=times), ""
    own = [now for now, _ in timed_video.timed_frames(source)]
    shifted = times[0] + np.array(own, dtype=np.int64)
    return dataclasses.replace(source, times_us=shifted), "assumed: its first frame at the data set's first"


class Window:
    """The frames of one clip on their way from source to file, and what the sidecar says of them."""

    def __init__(self, args: argparse.Namespace, source: timed_video.Source, times_from: str = ""):
        self.args, self.source, self.times_from = args, source, times_from
        container, stream = timed_video.open_source(source)
        with container:
            rate = stream.average_rate or stream.guessed_rate
            self.stored = (stream.codec_context.width, stream.codec_context.height)
            self.source_frames = stream.frames or (None if source.times_us is None else len(source.times_us))
            tracks = timed_video.tracks(container)
        self.source_fps = float(rate) if rate else None
        # Half a frame: a source may start that late or end that early and still have the frame "of" a wanted time.
        self.slack_us = round(0.5e6 / self.source_fps) if self.source_fps else 0
        self.wanted_us: list[int] = []
        self.t_us: list[int] = []
        self.shape: tuple[int, int] | None = None
        self.timed = timed_video.timed_frames(source)
        self.first = next(self.timed)
        _, frame = self.first
        self.colour = any_video.output_colour(frame)
        self.changes = any_video.changes(frame, timed_video.orientation(frame), tracks)

    def write(self) -> None:
        """Decode, pick and encode, frame by frame. Raises InputError on a bad source; then nothing is written."""
        write_video(self.args.output, self._frames(), self.args.fps, self.args.crf, self.colour)

    def _frames(self) -> Iterator[np.ndarray]:
        args, label = self.args, self.source.label
        first_us, _ = self.first
        ends_at_t0 = args.anchor == "t0"
        # What is driven never shows a frame before its time, and the last one until the next is due.
        before = bool(args.pai_root) and args.frame_choice == "before"
        pick, early = (clips.pick_before, 0) if before else (clips.pick_nearest, self.slack_us)
        if args.pai_root or ends_at_t0:
            wanted = clips.wanted_times(first_us - early, args.fps, args.max_frames, args.t0_us, ends_at_t0)
        else:  # nothing to plan from: the clip starts at the first frame
            wanted = clips.wanted_times(first_us, args.fps, args.max_frames, first_us, False)
        for picked in pick(itertools.chain([self.first], self.timed), wanted, self.slack_us):
            image = timed_video.to_rgb(picked.frame)
            self.shape = self.shape or image.shape[:2]
            if image.shape[:2] != self.shape:
                raise InputError(f"{label}: the frame size changes at {picked.t_us / 1e6:.3f} s; cut the clip there")
            self.wanted_us.append(picked.wanted_us)
            self.t_us.append(picked.t_us)
            yield image
        if ends_at_t0 and self.wanted_us[-1:] != [args.t0_us]:
            raise InputError(
                f"{label}: the window should end at t0_us {args.t0_us}, but the source covers only "
                f"{first_us} to {self.t_us[-1] if self.t_us else first_us} us; choose another t0_us"
            )
        if len(self.t_us) < args.min_frames:
            raise InputError(
                f"{label}: {len(self.t_us)} frames at {args.fps:g} fps, but {args.min_frames} are needed; "
                "use a longer source, or lower clip.min_frames"
            )
        self._check_times()

    def _check_times(self) -> None:
        """Note frames that stand for several instants; refuse a source with hardly one frame for two of the clip's."""
        again = [now == before for before, now in itertools.pairwise(self.t_us)]
        if not any(again):
            return
        if 2 * sum(again) >= len(self.t_us):
            raise InputError(
                f"{self.source.label}: {len(self.t_us) - sum(again)} frames of the source would make "
                f"{len(self.t_us)} of the clip at {self.args.fps:g} fps, standing still in between; lower clip.fps to "
                "the source's rate, or use another source"
            )
        longest = max(len(list(run)) for same, run in itertools.groupby(again) if same)
        self.changes.append(
            f"{sum(again)} of {len(self.t_us)} frames show the frame before once more, {longest} in a row at most, up "
            f"to {self._max_error_us() / 1000:.1f} ms from their time: the source has no frame nearer"
        )

    def _max_error_us(self) -> int:
        return max(abs(t - w) for t, w in zip(self.t_us, self.wanted_us, strict=True))

    def record(self) -> dict:
        """The sidecar, without the clip's hash."""
        args = self.args
        reached = self.wanted_us[0] <= args.t0_us <= self.wanted_us[-1]
        return {
            "video": f"{args.clip_id}.{args.camera}",
            "clip_id": args.clip_id,
            "camera": args.camera,
            "source": {
                "uri": args.uri,
                "pai_root": args.pai_root,
                "sha256": sha256_file(self.source.path),
                "fps": self.source_fps,
                "width": self.stored[0],
                "height": self.stored[1],
                "frames": self.source_frames,
            },
            "fps": args.fps,
            "frames": len(self.t_us),
            "width": self.shape[1],
            "height": self.shape[0],
            "anchor": args.anchor,
            # The planning instant, where the clip reaches it and there is something to plan from.
            "t0_us": args.t0_us if reached and (args.pai_root or args.anchor == "t0") else None,
            "changes": self.changes,
            "colour": dataclasses.asdict(self.colour),  # code points of ITU-T H.273, as the clip is tagged
            "max_error_us": self._max_error_us(),
            **({"times_from": self.times_from} if self.times_from else {}),
            "t_us": self.t_us,
            "wanted_us": self.wanted_us,
        }


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
