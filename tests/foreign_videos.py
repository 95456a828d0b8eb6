"""Videos as cameras and phones write them, for tests: any frame times, rotation, depth, odd sizes, sound, damage."""

import io
import json
import stat
import zipfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation

CAMERA = "camera_front_wide_120fov"
ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def numbered(count: int, height: int = 48) -> list[np.ndarray]:
    """Frames (height, 64, 3) that show their number (below 256) as eight dark or bright bars, see `number_of`."""
    bits = (np.arange(count)[:, None] >> np.arange(8)) & 1
    return [
        np.repeat(np.where(row, 220, 30), 8)[None, :, None].repeat(height, 0).repeat(3, 2).astype(np.uint8)
        for row in bits
    ]


def number_of(frame: np.ndarray) -> int:
    """Which frame of `numbered` this is, after any coding."""
    return int((frame.reshape(frame.shape[0], 8, 8, 3).mean((0, 2, 3)) > 125) @ (1 << np.arange(8)))


def write(
    path: Path | io.BytesIO,
    frames: Iterable[np.ndarray],
    times_us: Iterable[int] | None = None,
    fps: int = 30,
    pix_fmt: str = "yuv420p",
    rotation: int | None = None,
    mirrored: bool = False,
    sound: bool = False,
    faststart: bool = False,
    codec: str = "libx264",
    x264: str = "",
    tags: tuple[int, int, int] | None = None,
    matrix: int | None = None,
    tracks: int = 1,
) -> None:
    """An MP4 of RGB frames (H, W, 3) at given times (default: constant rate).

    `x264`: its parameters, such as `sar=4/3` or `tff=1`. `tags`: matrix, primaries and transfer as code points of
    H.273; `matrix`: swscale's number of the matrix that the frames are really coded by. `tracks`: further ones hold
    the same frames at half the size.
    """
    frames = list(frames)
    height, width = frames[0].shape[:2]
    times = list(times_us) if times_us is not None else [round(i * 1e6 / fps) for i in range(len(frames))]
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(path if isinstance(path, io.BytesIO) else str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 90_000)
        if codec.startswith("libx264"):
            stream.options = {"crf": "10", "preset": "veryfast"} | ({"x264-params": x264} if x264 else {})
        if tags is not None:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = tags
        others = [container.add_stream(codec, rate=fps) for _ in range(tracks - 1)]
        for other in others:
            other.width, other.height, other.pix_fmt = width // 2, height // 2, "yuv420p"
            other.codec_context.time_base = Fraction(1, 90_000)
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        audio = container.add_stream("aac", rate=16_000) if sound else None
        for image, time in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = picture.reformat(
                format=pix_fmt, interpolation=ACCURATE, **({"dst_colorspace": matrix} if matrix else {})
            )
            frame.pts, frame.time_base = round(time * 90_000 / 1e6), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
            for other in others:
                small = picture.reformat(width // 2, height // 2, "yuv420p")
                small.pts, small.time_base = frame.pts, frame.time_base
                container.mux(other.encode(small))
        for one in (stream, *others):
            container.mux(one.encode())
        if audio is not None:
            for start in range(0, 16_000, 1_024):
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 1_024), np.float32), format="fltp", layout="mono")
                tone.sample_rate, tone.pts = 16_000, start
                container.mux(audio.encode(tone))
            container.mux(audio.encode())


def hide_frames(path: Path, skip: int, show: int, fps: int = 30) -> None:
    """Write into an MP4's edit list that only `show` frames after the first `skip` are shown (ISO 14496-12, 8.6.6)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12  # after name, version and count: duration (milliseconds), media time (1/90000 s)
    data[at : at + 4] = round(show * 1000 / fps).to_bytes(4, "big")
    start = int.from_bytes(data[at + 4 : at + 8], "big") + round(skip * 90_000 / fps)
    data[at + 4 : at + 8] = start.to_bytes(4, "big")
    path.write_bytes(data)


def truncate(path: Path, share: float) -> Path:
    """Cut a file to the first `share` of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def zipped(path: Path, *members: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    """A zip of members (name, content) of one kind of file."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return path


def dataset(root: Path, clips: Iterable[str], frames: int = 30, offset_us: int = 0, valid: bool = True) -> Path:
    """A PhysicalAI-AV folder with one camera, enough to list and prepare clips: 30 Hz frames of `numbered`."""
    import pandas as pd

    clips = list(clips)
    members = json.dumps(
        {"video": f"{{clip_id}}.{CAMERA}.mp4", "frame_timestamps": f"{{clip_id}}.{CAMERA}.timestamps.parquet"}
    )
    chunk_path = f"camera/{CAMERA}/{CAMERA}.chunk_{{chunk_id:04d}}.zip"
    root.mkdir(parents=True)
    pd.DataFrame(
        [("camera", CAMERA, chunk_path, members)], columns=["directory", "feature", "chunk_path", "clip_files_in_zip"]
    ).to_csv(root / "features.csv", index=False)
    index = pd.DataFrame({"clip_is_valid": valid, "chunk": 0}, index=pd.Index(clips, name="clip_id"))
    index.to_parquet(root / "clip_index.parquet")
    (root / "metadata").mkdir()
    pd.DataFrame({CAMERA: True}, index=index.index).to_parquet(root / "metadata" / "feature_presence.parquet")
    pd.DataFrame({"country": "Nowhere"}, index=index.index).to_parquet(root / "metadata" / "data_collection.parquet")
    (root / "camera" / CAMERA).mkdir(parents=True)
    with zipfile.ZipFile(root / chunk_path.format(chunk_id=0), "w") as archive:
        for clip in clips:
            video, stamps = io.BytesIO(), io.BytesIO()
            write(video, numbered(frames), fps=30)
            times = [offset_us + round(i * 1e6 / 30) for i in range(frames)]
            pd.DataFrame({"timestamp": times}).to_parquet(stamps)
            archive.writestr(f"{clip}.{CAMERA}.mp4", video.getvalue())
            archive.writestr(f"{clip}.{CAMERA}.timestamps.parquet", stamps.getvalue())
    return root
