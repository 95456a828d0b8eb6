"""What a foreign video is besides its frames: what is refused, with a command that mends it, and what is changed."""

from fractions import Fraction

import av

from relane.io import wide_colour
from relane.io.colour import MATRICES, UNSPECIFIED, Colour, colour_of

# H.273 transfer characteristics of ordinary pictures: BT.709 and its like, sRGB, powers 2.2 and 2.8; 0 and 2 say none.
_ORDINARY = {0, 1, UNSPECIFIED, 4, 5, 6, 7, 11, 12, 13, 14, 15}
_REFUSED = {8: "linear light", 9: "logarithmic", 10: "logarithmic", 17: "SMPTE ST 428"}
_MOST_ASPECT = 4  # a pixel's width to its height, or the reverse; more is a broken header


def refusal(frame: av.VideoFrame, name: str) -> str | None:
    """Why frames like this one cannot be read as pictures, with the command that mends it; None where they can."""
    out = "-c:v libx264 -crf 12 mended.mp4"
    if frame.interlaced_frame:
        return (
            "its frames are interlaced: each holds two instants, which no model here knows; "
            f"ffmpeg -i '{name}' -vf bwdif=mode=send_frame {out}"
        )
    transfer, primaries, matrix = int(frame.color_trc), int(frame.color_primaries), int(frame.colorspace)
    if transfer not in _ORDINARY | {wide_colour.PQ, wide_colour.HLG}:
        what = _REFUSED.get(transfer, "unknown")
        return f"its transfer characteristics {transfer} ({what}) are of no finished picture; grade it to BT.709 first"
    if transfer in (0, UNSPECIFIED) and primaries == 9:
        return (
            "it is tagged BT.2020 but not whether it is SDR, PQ or HLG; say so (bt2020-10, smpte2084, arib-std-b67): "
            f"ffmpeg -i '{name}' -c copy -bsf:v h264_metadata=transfer_characteristics=14 mended.mp4 "
            "(hevc_metadata for HEVC; 14, 16, 18)"
        )
    if matrix not in MATRICES and matrix not in (0, UNSPECIFIED):
        return (
            f"its colour matrix {matrix} is none that can be read here; "
            f"ffmpeg -i '{name}' -vf zscale=m=bt709,format=yuv420p10le {out}"
        )
    return None


def aspect_refusal(aspect: Fraction, name: str) -> str | None:
    """Why pixels of this shape (width to height) are not believed, or None."""
    if 1 / Fraction(_MOST_ASPECT) <= aspect <= _MOST_ASPECT:
        return None
    return (
        f"its pixels are said to be {aspect.numerator}:{aspect.denominator} wide to high; "
        f"if they are square: ffmpeg -i '{name}' -c copy -aspect <width>:<height> mended.mp4"
    )


def pixel_aspect(stream: av.VideoStream) -> Fraction:
    """Width to height of a stream's pixels; 1 where nothing is said."""
    aspect = stream.sample_aspect_ratio
    return Fraction(aspect) if aspect else Fraction(1)


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """(width, height) of a stored picture with square pixels: one side grows, to an even number, and none shrinks."""
    if aspect == 1:
        return width, height
    return (2 * round(width * aspect / 2), height) if aspect > 1 else (width, 2 * round(height / aspect / 2))


def output_colour(frame: av.VideoFrame) -> Colour:
    """The colour of what `timed_video.to_rgb` makes of a frame: its own, or BT.709 where it was brought there."""
    if wide_colour.converts(int(frame.color_primaries), int(frame.color_trc)):
        return Colour(1, 1, 1)
    return colour_of(frame)


def changes(frame: av.VideoFrame, orientation: tuple[bool, bool, bool], tracks: list[str]) -> list[str]:
    """What `timed_video.to_rgb` changes of frames like this one, and which of the file's videos it is; for people.

    `orientation` is of `timed_video.orientation`, `tracks` of `relane.data.timed_video.tracks`.
    """
    done = []
    if len(tracks) > 1:
        done.append(f"of the file's {len(tracks)} video tracks {tracks[0]} is read; not {', '.join(tracks[1:])}")
    aspect = frame.opaque or Fraction(1)
    stored = square_size(frame.width, frame.height, aspect)
    if aspect != 1:
        was = f"{frame.width}x{frame.height} with pixels {aspect.numerator}:{aspect.denominator}"
        done.append(f"scaled to square pixels: {was} to {stored[0]}x{stored[1]}")
    if any(orientation):
        names = ("transposed", "flipped left-right", "flipped top-bottom")
        turned = [name for name, on in zip(names, orientation, strict=True) if on]
        done.append("made upright as its metadata says: " + ", ".join(turned))
    width, height = stored[::-1] if orientation[0] else stored
    if width % 2:
        done.append("cropped by the last pixel column (odd width)")
    if height % 2:
        done.append("cropped by the last pixel row (odd height)")
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        done.append(f"converted from {frame.format.name} to 8-bit yuv420p")
    return done + _colour_changes(frame)


def _colour_changes(frame: av.VideoFrame) -> list[str]:
    done = []
    if frame.format.name.startswith("yuvj") or (int(frame.color_range) == 2 and frame.format.name.startswith("yuv")):
        done.append("levels brought from full to limited range")
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    if wide_colour.converts(primaries, transfer):
        gamut = wide_colour.NAMES.get(primaries, f"primaries {primaries}")
        if transfer in (wide_colour.PQ, wide_colour.HLG):
            done.append(
                f"tone-mapped from {gamut} {wide_colour.NAMES[transfer]} (HDR) to BT.709: {wide_colour.WHITE:g} cd/m2 "
                "is white, brighter light is clipped"
            )
        else:
            done.append(f"colours brought from {gamut} to BT.709")
    return done
