"""What a copy of a video costs: error and time of ways to bring chroma to 4:2:0, over generations of copies.

    .venv/bin/python benchmarks/video_files.py [--clip CLIP.mp4] [--frames 12] [--crf 1]

Without a clip: lines 2 to 6 pixels wide in yellow, blue and red on grained asphalt, from even and odd pixels, upright
and lying. Prints a row a way: root mean square error to the first picture after 1, 2 and 4 copies, and the processor
time that writing takes a frame, encoder included, as a multiple of the first way's. Ways: swscale's average (chroma
half way between two pixels, read as on the left: what files without a tag suffer), swscale's average at the left, and
ours.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import av
import numpy as np

from relane.io import video
from relane.io.colour import EXACT_COLOR, Colour, from_rgb

Convert = Callable[[np.ndarray, Colour], av.VideoFrame]


def averaged(image: np.ndarray, colour: Colour) -> av.VideoFrame:
    """swscale's own way down."""
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", interpolation=EXACT_COLOR)


class AveragedLeft:
    """swscale's way down to chroma on the left, through its filter: PyAV's own call cannot ask for it."""

    def __init__(self) -> None:
        self.graph: av.filter.Graph | None = None

    def __call__(self, image: np.ndarray, colour: Colour) -> av.VideoFrame:
        """One frame; all must have one size."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        if self.graph is None:
            self.graph = av.filter.Graph()
            size = {"width": frame.width, "height": frame.height}
            source = self.graph.add_buffer(**size, format="rgb24", time_base=Fraction(1, 10))
            scale = self.graph.add("scale", "flags=bilinear+accurate_rnd+full_chroma_int:out_chroma_loc=left")
            wanted, sink = self.graph.add("format", "yuv420p"), self.graph.add("buffersink")
            self.graph.link_nodes(source, scale, wanted, sink).configure()
            self.count = 0
        frame.pts, frame.time_base = self.count, Fraction(1, 10)
        self.count += 1
        self.graph.push(frame)
        found = self.graph.pull()
        found.pts = None
        return found


def lines(frames: int) -> list[np.ndarray]:
    """Coloured lines on grained asphalt, (320, 480, 3)."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(frames):
        picture = 95 + rng.normal(0, 5, (320, 480, 1)) + rng.normal(0, 2, (320, 480, 3))
        for number in range(24):
            width, colour = (2, 3, 4, 6)[number % 4], ((230, 190, 40), (40, 60, 220), (220, 40, 40))[number % 3]
            at = 10 + 19 * number + number % 2
            picture[:160, at : at + width] = colour
            if number < 8:
                picture[at + 164 - 10 : at + 164 - 10 + width] = colour
        made.append(np.clip(picture, 0, 255).astype(np.uint8))
    return made


def measure(convert: Convert, frames: list[np.ndarray], crf: int) -> tuple[list[float], float]:
    """Errors after each of four copies, and processor seconds of writing a frame."""
    errors, seconds, shown, usual = [], 0.0, frames, video.from_rgb
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(4):
            video.from_rgb = convert
            started = time.process_time()
            video.write_video(Path(folder) / "copy.mp4", shown, 10, crf)
            seconds += time.process_time() - started
            video.from_rgb = usual
            shown = list(video.iter_frames(Path(folder) / "copy.mp4"))
            pairs = zip(shown, frames, strict=True)
            errors.append(float(np.sqrt(np.mean([(a.astype(float) - b) ** 2 for a, b in pairs]))))
    return errors, seconds / 4 / len(frames)


def main() -> None:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clip", help="a video of one size; default: drawn lines")
    p.add_argument("--frames", type=int, default=12)
    p.add_argument("--crf", type=int, default=1)
    args = p.parse_args()
    frames = list(islice(video.iter_frames(args.clip), args.frames)) if args.clip else lines(args.frames)
    ways = {"average, half way": averaged, "average, left": AveragedLeft(), "least squares (ours)": from_rgb}
    base = None
    print(f"{'way':22} {'1 copy':>7} {'2':>7} {'4':>7} {'ms/frame':>9} {'ratio':>6}")
    for name, convert in ways.items():
        errors, seconds = measure(convert, frames, args.crf)
        base = base or seconds
        shown = [errors[0], errors[1], errors[3]]
        print(f"{name:22} " + " ".join(f"{e:7.2f}" for e in shown) + f" {seconds * 1e3:9.1f} {seconds / base:6.2f}")


if __name__ == "__main__":
    main()
