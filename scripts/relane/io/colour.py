"""Colour of video: what a file says of its matrix and primaries, RGB to 4:2:0 and back without moving or blurring.

H.264's chroma samples lie on the left column of each 2 x 2 luma samples, half way between its rows (H.273 and H.264
E.2.1, type 0), and a player fills the gaps between them linearly. Averaging on the way down would blur a little more
in every generation. So chroma is brought down as the least-squares inverse of what a player does: of all pictures
that 4:2:0 can hold, the one that comes out nearest to the source. What was read is written again unchanged.
"""

from dataclasses import dataclass

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

# swscale's default conversion darkens by more than a grey level on each way through; with these flags it does not.
EXACT_COLOR = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

# Code points of ITU-T H.273 for "unspecified" and for BT.601 (525 lines), which stands for it: the same matrix.
UNSPECIFIED, BT601, BT709, BT2020 = 2, 6, 1, 9
# H.273's matrix coefficients that swscale knows, and its own numbers for them. 0 is RGB itself.
MATRICES = {
    BT709: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    BT601: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    BT2020: Colorspace.BT2020,
}


@dataclass(frozen=True)
class Colour:
    """The tags of one of our files as H.273 code points; range is always limited and chroma sited left.

    `matrix` is one of `MATRICES`. The default, BT.601, is what files without tags are read as.
    """

    matrix: int = BT601
    primaries: int = BT601
    transfer: int = BT601


def colour_of(tagged: av.VideoFrame | av.VideoCodecContext) -> Colour:
    """The colour that a decoded frame or an opened stream declares, what it leaves out as BT.601.

    RGB has no matrix: it gets BT.709's where its primaries or transfer are tagged and BT.601's otherwise.
    """
    primaries, transfer = int(tagged.color_primaries), int(tagged.color_trc)
    matrix = int(tagged.colorspace)
    if matrix not in MATRICES:
        matrix = BT709 if matrix == 0 and primaries == BT709 else BT601
    known = (0, UNSPECIFIED)
    return Colour(matrix, BT601 if primaries in known else primaries, BT601 if transfer in known else transfer)


def apply_tags(context: av.VideoCodecContext, colour: Colour) -> None:
    """Tag an encoder's stream, before it is opened. Chroma's place is H.264's own default, which x264 leaves out."""
    context.colorspace, context.color_range = colour.matrix, ColorRange.MPEG
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer


def from_rgb(image: np.ndarray, colour: Colour) -> av.VideoFrame:
    """(H, W, 3) uint8 RGB, H and W even, as a yuv420p frame of limited range in `colour`."""
    picture = av.VideoFrame.from_ndarray(image, format="rgb24")
    full = picture.reformat(
        format="yuv444p",
        interpolation=EXACT_COLOR,
        dst_colorspace=MATRICES[colour.matrix],
        dst_color_range=ColorRange.MPEG,
    ).to_ndarray()
    height, width = image.shape[:2]
    packed = np.empty((height * 3 // 2, width), np.uint8)  # the planes of yuv420p, one after another
    packed[:height] = full[0]
    packed[height:] = np.stack([halve_chroma(full[1]), halve_chroma(full[2])]).reshape(height // 2, width)
    frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
    frame.colorspace, frame.color_range = colour.matrix, ColorRange.MPEG
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def rgb_array(frame: av.VideoFrame, pixels: str = "rgb24") -> np.ndarray:
    """A decoded frame as (H, W, 3) RGB of its own primaries and transfer: uint8, or uint16 with `pixels` rgb48le.

    Matrix, range and the place of chroma are those that the frame declares. Frames that declare no matrix are read as
    BT.601, as PyAV and PhysicalAI-AV's own reader do; H.264 and HEVC that declare no place have chroma on the left.
    """
    return frame.to_ndarray(format=pixels, interpolation=EXACT_COLOR)


# Chroma


def _inverse_of(centre: float, beside: float, reach: int) -> np.ndarray:
    """The taps that undo a filter [beside, centre, beside], cut to 2 * reach + 1 and kept to 1/1024.

    So short, every product and sum of the filters below is a whole number that float32 holds: the result depends on no
    order of summing, and on no processor.
    """
    root = np.sqrt(centre**2 - 4 * beside**2)
    taps = ((root - centre) / (2 * beside)) ** np.abs(np.arange(-reach, reach + 1)) / root
    steps = np.rint(taps / taps.sum() / (centre + 2 * beside) * 1024)
    steps[reach] += 1024 / (centre + 2 * beside) - steps.sum()
    return (steps / 1024).astype(np.float32)


# A player's linear filling U puts weights (1/2, 1, 1/2) about a sample along a row and (1/4, 3/4, 3/4, 1/4) along a
# column. Least squares is inverse(U^T U) U^T, and U^T U has the taps (1/4, 3/2, 1/4) and (3/8, 5/4, 3/8).
_ALONG_ROWS, _ALONG_COLUMNS = _inverse_of(3 / 2, 1 / 4, 4), _inverse_of(5 / 4, 3 / 8, 7)
_ONE = np.ones(1, np.float32)


def halve_chroma(plane: np.ndarray) -> np.ndarray:
    """A full (H, W) uint8 chroma plane as the (H/2, W/2) uint8 one of 4:2:0 sited left; H and W even.

    Least squares against linear filling. Edges: the picture goes on mirrored as a player's does, about the edge of the
    picture above and below, about the outermost samples left and right.
    """
    wide = plane.astype(np.uint16)
    upper, lower = wide[::2], wide[1::2]
    rows = 3 * (upper + lower)  # 4 x U^T along columns
    rows[:-1] += upper[1:]
    rows[-1] += lower[-1]
    rows[1:] += lower[:-1]
    rows[0] += upper[0]
    even, odd = rows[:, ::2], rows[:, 1::2]
    both = 2 * even + odd  # 2 x U^T along rows
    both[:, 1:] += odd[:, :-1]
    both[:, 0] += odd[:, 0]
    x, y = len(_ALONG_ROWS) // 2, len(_ALONG_COLUMNS) // 2
    if min(both.shape) <= max(x, y):  # OpenCV mirrors no further than the picture is wide
        both = np.pad(np.pad(both, ((y, y), (0, x)), "symmetric"), ((0, 0), (x, 0)), "reflect")
    else:
        both = cv2.copyMakeBorder(both, y, y, 0, x, cv2.BORDER_REFLECT)
        both = cv2.copyMakeBorder(both, 0, 0, x, 0, cv2.BORDER_REFLECT_101)
    both = cv2.sepFilter2D(both.astype(np.float32), cv2.CV_32F, _ALONG_ROWS, _ONE)[:, x:-x]
    both = np.rint(2 * both)  # 16 x the value from here on, whole again
    both = cv2.sepFilter2D(both, cv2.CV_32F, _ONE, _ALONG_COLUMNS)[y:-y]
    return np.clip(np.rint(both / 16), 0, 255).astype(np.uint8)
