"""Make one clip (MP4 and JSON sidecar) from one source: decoded with the true time of each frame, resampled by time.

The source is a row of the clip sheet: a local MP4, any fsspec URL of one, or a PhysicalAI-AV camera chunk zip. The
clip is H.264, yuv420p, constant rate. With `--anchor t0` it is the window that ends at `--t0-us`, with `--anchor start`
the first frames. The sidecar records, for each frame of the clip, the time that was wanted and that of the frame taken.

With `--record-failures true` a source that cannot be used is no error: the sidecar gets `status: skipped` and the
reason, the MP4 is an empty file, and later stages leave the clip out.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from relane import cli, clips
from relane.clip_settings import check_lengths
from relane.errors import FetchError, InputError
from relane.files import sha256_file, write_json, write_text
from relane.video import write_video


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--uri", default="", help="the MP4 (path or URL), or a PhysicalAI-AV camera chunk zip; "
                   "blank: streamed from --pai-root")  # fmt: skip
    p.add_argument("--pai-root", default="", help="PhysicalAI-AV folder or hf://repo@revision; blank: no ego motion")
    p.add_argument("--clip-id", required=True)
    p.add_argument("--camera", required=True)
    p.add_argument("--checksum", default="", help="<algorithm>:<value> of the clip sheet; blank: not checked")
    p.add_argument("--fps", type=float, default=10.0, help="frames per second of the clip")
    p.add_argument("--max-frames", type=int, default=150, help="at most this many frames")
    p.add_argument("--min-frames", type=int, default=1, help="fewer than this many frames is an error")
    p.add_argument(
        "--anchor", choices=("start", "t0"), default="start", help="the first frames, or the window up to t0"
    )
    p.add_argument("--t0-us", type=int, default=5_100_000, help="planning instant, microseconds on the source's clock")
    p.add_argument("--crf", type=int, default=18, help="H.264 quality, 0 (lossless) to 51")
    p.add_argument(
        "--record-failures", type=cli.true_or_false, default=False, help="true: an unusable source is a record"
    )
    p.add_argument(
        "--last-attempt", type=cli.true_or_false, default=True, help="false: what may pass is not recorded yet"
    )
    p.add_argument("--output", required=True, help="the clip, MP4")
    p.add_argument("--sidecar", required=True, help="its record, JSON")
    return p


def run(args: argparse.Namespace) -> None:
    """Fetch, decode, pick and write one clip. Raises InputError on a bad source; then neither output is written.

    Where failures are to be recorded, both are, and say so; what may pass is recorded at the last attempt only.
    """
    check_lengths(args.fps, args.max_frames, args.min_frames)
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
        "frames": 0,
        "t_us": [],
    }


def make(args: argparse.Namespace) -> dict:
    """Write the clip; its record."""
    with tempfile.TemporaryDirectory(prefix="relane-clip-") as folder:
        source = clips.fetch(args.uri, args.pai_root, args.clip_id, args.camera, args.checksum, Path(folder))
        window = Window(args, source)
        window.write()
        return window.record() | {"sha256": sha256_file(args.output)}


class Window:
    """The frames of one clip on their way from source to file, and what the sidecar says of them."""

    def __init__(self, args: argparse.Namespace, source: clips.Source):
        self.args, self.source = args, source
        container, stream = clips.open_source(source)
        with container:
            rate = stream.average_rate or stream.guessed_rate
            self.stored = (stream.codec_context.width, stream.codec_context.height)
            self.source_frames = stream.frames or (None if source.times_us is None else len(source.times_us))
        self.source_fps = float(rate) if rate else None
        # Half a frame: a source may start that late or end that early and still have the frame "of" a wanted time.
        self.slack_us = round(0.5e6 / self.source_fps) if self.source_fps else 0
        self.wanted_us: list[int] = []
        self.t_us: list[int] = []
        self.shape: tuple[int, int] | None = None
        self.changes: list[str] = []

    def write(self) -> None:
        """Decode, pick and encode, frame by frame. Raises InputError on a bad source; then nothing is written."""
        write_video(self.args.output, self._frames(), self.args.fps, self.args.crf)

    def _frames(self) -> Iterator[np.ndarray]:
        args, label = self.args, self.source.label
        timed = clips.timed_frames(self.source)
        first_us, frame = next(timed)
        ends_at_t0 = args.anchor == "t0"
        if args.pai_root or ends_at_t0:
            wanted = clips.wanted_times(first_us - self.slack_us, args.fps, args.max_frames, args.t0_us, ends_at_t0)
        else:  # nothing to plan from: the clip starts at the first frame
            wanted = clips.wanted_times(first_us, args.fps, args.max_frames, first_us, False)
        self._note_changes(frame)
        for picked in clips.pick_nearest(itertools.chain([(first_us, frame)], timed), wanted, self.slack_us):
            image = clips.to_rgb(picked.frame)
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

    def _note_changes(self, frame: av.VideoFrame) -> None:
        transpose, horizontal, vertical = clips.orientation(frame)
        if transpose or horizontal or vertical:
            names = ("transposed", "flipped left-right", "flipped top-bottom")
            done = [name for name, on in zip(names, (transpose, horizontal, vertical), strict=True) if on]
            self.changes.append("made upright as its metadata says: " + ", ".join(done))
        height, width = (frame.width, frame.height) if transpose else (frame.height, frame.width)
        if width % 2:
            self.changes.append("cropped by the last pixel column (odd width)")
        if height % 2:
            self.changes.append("cropped by the last pixel row (odd height)")
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            self.changes.append(f"converted from {frame.format.name} to 8-bit yuv420p")

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
            "max_error_us": max(abs(t - w) for t, w in zip(self.t_us, self.wanted_us, strict=True)),
            "t_us": self.t_us,
            "wanted_us": self.wanted_us,
        }


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
