"""Where clips come from: each kind of source becomes rows of the clip sheet (`relane.data.sheet`).

    drive.mp4, folder/            a local video, or every video below a folder (hidden files and folders left out)
    gs://bucket/object-or-prefix  one object, or every video below a prefix; any other fsspec URL works alike
    pai://folder, folder/         a PhysicalAI-AV dataset on disk (a folder with features.csv and clip_index.parquet)
    mp4://folder, folder/         a folder of MP4s with their ego motion, <clip>.ego.csv (docs/own_drives.md)
    hf://repo@revision            PhysicalAI-AV streamed from Hugging Face (HF_TOKEN in the environment)
    chunks://root?start=N&end=M&per_chunk=K
                                  folders root/chunk_0000, chunk_0001, ...: those numbered N to M, the end included,
                                  and the first K videos of each by name. The root is a local folder when it starts
                                  with / or . or exists as a folder, else a bucket and prefix of Google Cloud Storage

The first two kinds and chunks:// take `pai_root=ROOT` as well (a folder or hf://repo@revision), with `?` or `&` before
it: where the ego motion, calibration and other cameras of their clips lie, without which nothing drives them. It holds
for those videos that are named `<clip_id>.<camera>.mp4` and that the data set knows.

Options of pai://, mp4:// and hf://, after a `?`: cameras=a,b (default camera_front_wide_120fov), clips=id,id,
start=N and limit=K (over the clips sorted by id). A local file or folder needs only the standard library, so that
the Snakefile may resolve it at planning; the rest imports fsspec, pyarrow or the dataset's reader when it is used.
"""

import base64
import glob
import json
import logging
import re
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs

from relane.addresses import path_of, reveal
from relane.data import data_set, module_name
from relane.data.beside import split_pai_root, with_pai_root
from relane.data.physical_ai_av.index import clip_index, pai_features
from relane.data.sheet import Clip, check_clips
from relane.errors import InputError, first_line
from relane.io.content import ZIP_FAULTS
from relane.io.files import sha256_file
from relane.names import CAMERAS

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")
DEFAULT_CAMERA = "camera_front_wide_120fov"
FILE_CAMERA = "front"  # the camera of a video whose name does not say


def resolve(source: str, pai_root: str = "") -> list[Clip]:
    """The clips of one source (kinds above), sorted, with size and checksum wherever the source can tell them.

    pai_root: the data set of their ego motion, for a source that does not name its own.

    Reads the network for remote sources and hashes local files (SHA-256), so it belongs in `resolve_clips.py`, not
    in planning. Raises InputError when nothing matches, two files become one video, an option is unknown, or a
    remote source cannot be listed.
    """
    scheme, _, rest = source.partition("://")
    if not rest or scheme in ("file", "pai", "mp4"):
        return [_hashed(clip) for clip in resolve_local(source, pai_root)]
    if scheme == "hf":
        return check_clips(_pai_streamed(source))
    plain, own = split_pai_root(source)
    clips = _chunks(plain) if scheme == "chunks" else _remote(plain)
    return check_clips(with_pai_root(clips, own or pai_root))


def resolve_local(source: str, pai_root: str = "") -> list[Clip]:
    """The clips of a local video, folder or PhysicalAI-AV folder, without checksums for videos: quick enough to plan.

    Raises InputError as `resolve`, and for a remote source: planning must not touch the network.
    """
    scheme, _, rest = source.partition("://")
    if rest and scheme not in ("file", "pai", "mp4"):
        raise InputError(
            f"clips {source!r}: make a sheet first: scripts/resolve_clips.py '{source}' --output clips.csv"
        )
    plain, own = split_pai_root(rest or source)
    path, root = Path(plain), own or pai_root
    if scheme == "mp4" or (not root and _is_mp4_folder(Path(source.partition("?")[0]))):
        return check_clips(_mp4_local(source))
    if scheme == "pai" or _is_pai(Path(source.partition("?")[0])):
        return check_clips(_pai_local(source))
    if path.is_file():
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            raise InputError(f"{path}: not a video by its name; expected {', '.join(VIDEO_SUFFIXES)}")
        return check_clips(with_pai_root([_file_clip(path)], root))
    if not path.is_dir():
        raise InputError(f"{source}: no such file or folder")
    clips = _local_videos(path)
    if not clips:
        raise InputError(f"{path}: no videos ({', '.join(VIDEO_SUFFIXES)}) in this folder or below")
    return check_clips(with_pai_root(clips, root))


def _local_videos(folder: Path) -> list[Clip]:
    files = (file for file in sorted(folder.rglob("*")) if _is_video(file.relative_to(folder).as_posix()))
    return [_file_clip(file) for file in files if file.is_file()]


def _is_video(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.lower().endswith(VIDEO_SUFFIXES) and not any(part.startswith(".") for part in parts)


def named(name: str) -> tuple[str, str]:
    """(clip_id, camera) of a video's file name.

    A stem `<clip_id>.<camera>` with a camera of PhysicalAI-AV is split there; any other video's camera is `front`.
    Characters that an id may not hold become `_`.
    """
    stem = PurePosixPath(name).stem
    head, _, tail = stem.rpartition(".")
    clip_id, camera = (head, tail) if tail in CAMERAS else (stem, FILE_CAMERA)
    clip_id = re.sub(r"[^A-Za-z0-9._-]+", "_", clip_id).lstrip(".-")[:120]
    return clip_id or "clip", camera


def _file_clip(path: Path) -> Clip:
    clip_id, camera = named(path.name)
    return Clip(clip_id, camera, str(path), size=path.stat().st_size)


def _hashed(clip: Clip) -> Clip:
    if clip.checksum:  # a zip's directory has already given a CRC-32
        return clip
    return replace(clip, checksum="sha256:" + sha256_file(clip.uri))


# Options


def _options(source: str, allowed: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Split `scheme://rest?options` into the rest and the options, each of them one of `allowed`."""
    rest, _, query = source.partition("?")
    options = parse_qs(query, keep_blank_values=True)
    for key, values in options.items():
        if key not in allowed:
            raise InputError(f"{source}: unknown option {key!r}; this kind of source takes {', '.join(allowed)}")
        if len(values) > 1:
            raise InputError(f"{source}: option {key!r} is given twice")
    return rest.partition("://")[2] or rest, {key: values[0] for key, values in options.items() if values[0]}


def _number(source: str, options: dict[str, str], key: str) -> int | None:
    text = options.get(key)
    if text is None:
        return None
    least = 0 if key in ("start", "end") else 1
    if not text.isdecimal() or int(text) < least:
        raise InputError(f"{source}: {key}={text!r} is not a whole number from {least}")
    return int(text)


# fsspec


def filesystem(url: str) -> tuple[Any, str]:
    """(fsspec file system, path in it) of a URL, hidden or not. Raises InputError for an address of no known kind."""
    import fsspec

    # It prints a page of traceback for every failed request; what failed is in the exception that follows.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    try:
        return fsspec.core.url_to_fs(reveal(url))
    except (ValueError, ImportError) as error:
        raise InputError(f"{url}: no way to read this kind of address ({error})") from None


def checksum_of(info: dict[str, Any]) -> str:
    """`<algorithm>:<value>` from what a remote store says of an object, or "" when it says nothing of use.

    The MD5 comes first, because it can be checked against the bytes; Google Cloud Storage has none for objects that
    were composed, only a generation, and other stores only an ETag.
    """
    if info.get("md5Hash"):
        return "md5:" + base64.b64decode(info["md5Hash"]).hex()
    if info.get("generation"):
        return f"generation:{info['generation']}"
    etag = str(info.get("ETag") or info.get("etag") or "").strip('"')
    return f"etag:{etag}" if re.fullmatch(r"\S+", etag) else ""


def _remote_clip(fs: Any, path: str, info: dict[str, Any]) -> Clip:
    clip_id, camera = named(path_of(path))
    size = info.get("size")
    return Clip(clip_id, camera, fs.unstrip_protocol(path), "", None if size is None else int(size), checksum_of(info))


def _remote(source: str) -> list[Clip]:
    clips = _remote_videos(source)
    if not clips:
        raise InputError(f"{source}: no videos ({', '.join(VIDEO_SUFFIXES)}) there")
    return clips


def _remote_videos(source: str) -> list[Clip]:
    fs, root = filesystem(source)
    try:
        if fs.isfile(root):
            found = {root: fs.info(root)}
        else:
            found = fs.find(root, detail=True)
            if not found:  # a prefix need not end at a folder: gs://bucket/day_ finds day_1/x.mp4 and day_2.mp4
                for path, info in fs.glob(glob.escape(root.rstrip("/")) + "*", detail=True).items():
                    found |= fs.find(path, detail=True) if info["type"] == "directory" else {path: info}
    except Exception as error:  # every store has its own errors; all of them mean "cannot list"
        raise cannot_list(source, error) from None
    return [_remote_clip(fs, path, info) for path, info in sorted(found.items()) if _is_video(path_of(path))]


def cannot_list(source: str, error: Exception) -> InputError:
    """What to say when a store refuses to list an address."""
    return InputError(
        f"{source}: cannot be listed ({type(error).__name__}: {first_line(error)}); check the name and your login"
    )


# Chunk folders


def _chunks(source: str) -> list[Clip]:
    rest, options = _options(source, ("start", "end", "per_chunk"))
    rest = rest.rstrip("/") or "/"
    start = _number(source, options, "start") or 0
    end = _number(source, options, "end")
    per_chunk = _number(source, options, "per_chunk")
    if end is not None and end < start:
        raise InputError(f"{source}: end={end} is before start={start} (the end is included)")
    if "://" in rest:
        root = rest
    elif rest.startswith(("/", ".")) or Path(rest).is_dir():
        root = ""
    else:
        root = f"gs://{rest}"
    folders = _remote_folders(root, source) if root else _local_folders(Path(rest), source)
    wanted = [name for number, name in folders if number >= start and (end is None or number <= end)]
    if not wanted:
        numbers = [number for number, _ in folders]
        exists = f"chunks {min(numbers)} to {max(numbers)} exist" if numbers else "no chunk_<number> folders exist"
        raise InputError(f"{source}: no chunk from {start} to {'the last' if end is None else end}; {exists} there")
    clips: list[Clip] = []
    for folder in wanted:
        files = _remote_videos(folder) if root else _local_videos(Path(folder))
        clips += files[:per_chunk]
    if not clips:
        raise InputError(f"{source}: chunks {Path(wanted[0]).name} to {Path(wanted[-1]).name} hold no videos")
    return clips if root else [_hashed(clip) for clip in clips]


def _numbered(names: Iterable[str]) -> list[tuple[int, str]]:
    found = [(re.fullmatch(r"chunk_(\d+)", PurePosixPath(name).name), name) for name in names]
    return sorted((int(match[1]), name) for match, name in found if match)


def _local_folders(root: Path, source: str) -> list[tuple[int, str]]:
    if not root.is_dir():
        raise InputError(f"{source}: no such folder {root}")
    return _numbered(str(path) for path in root.iterdir() if path.is_dir())


def _remote_folders(root: str, source: str) -> list[tuple[int, str]]:
    fs, path = filesystem(root)
    try:
        entries = fs.ls(path, detail=True)
    except Exception as error:  # as in _remote
        raise cannot_list(source, error) from None
    return _numbered(
        fs.unstrip_protocol(entry["name"].rstrip("/")) for entry in entries if entry["type"] == "directory"
    )


# A folder of MP4s with ego motion


def _is_mp4_folder(path: Path) -> bool:
    return path.is_dir() and module_name(path) == "relane.data.mp4_folder"


def _mp4_local(source: str) -> list[Clip]:
    """Clips of which both a camera's video and the ego motion lie in the folder."""
    rest, options = _options(source, _PAI_OPTIONS)
    root = Path(rest)
    if not _is_mp4_folder(root):
        raise InputError(f"{root}: no <clip>.ego.csv or .ego.json in this folder; see docs/own_drives.md")
    known = data_set(root).clip_ids(root)
    pairs = ((clip_id, camera) for clip_id in known for camera in CAMERAS)
    videos = {pair for pair in pairs if (root / f"{'.'.join(pair)}.mp4").is_file()}
    if not videos:
        names = (
            f"<clip>.<camera>.mp4 with a clip of {', '.join(sorted(known)[:3])} and a camera of {', '.join(CAMERAS)}"
        )
        raise InputError(f"{root}: ego motion, but no videos beside it by the names {names}")
    cameras = _cameras(source, options, {camera for _, camera in videos})
    picked = _pick(source, options, [clip_id for clip_id, camera in videos if camera in cameras])
    files = [(name, root / f"{name}.{camera}.mp4") for name in picked for camera in cameras if (name, camera) in videos]
    return [replace(_file_clip(path), clip_id=name, pai_root=str(root)) for name, path in files]


# PhysicalAI-AV

_PAI_OPTIONS = ("cameras", "clips", "start", "limit")


def _is_pai(path: Path) -> bool:
    return (path / "features.csv").is_file() and (path / "clip_index.parquet").is_file()


def _pick(source: str, options: dict[str, str], ids: Iterable[str]) -> list[str]:
    """The clips that clips=, start= and limit= leave, sorted."""
    ids = sorted(set(ids))
    if options.get("clips"):
        asked = [clip.strip() for clip in options["clips"].split(",") if clip.strip()]
        unknown = [clip for clip in asked if clip not in set(ids)]
        if unknown:
            raise InputError(f"{source}: no clip {', '.join(unknown)} with these cameras in the dataset")
        ids = sorted(set(asked))
    start, limit = _number(source, options, "start") or 0, _number(source, options, "limit")
    picked = ids[start : None if limit is None else start + limit]
    if not picked:
        raise InputError(f"{source}: no clips left of {len(ids)} (start={start}, limit={limit})")
    return picked


def _cameras(source: str, options: dict[str, str], known: Iterable[str]) -> list[str]:
    cameras = [camera.strip() for camera in options.get("cameras", DEFAULT_CAMERA).split(",") if camera.strip()]
    known = sorted(known)
    for camera in cameras:
        if camera not in known:
            raise InputError(f"{source}: no camera {camera!r}; the dataset has {', '.join(known)}")
    return list(dict.fromkeys(cameras))


def _pai_local(source: str) -> list[Clip]:
    """Clips whose camera chunk zips lie in the folder: what the index lists but nobody has fetched is left out."""
    rest, options = _options(source, _PAI_OPTIONS)
    root = Path(rest)
    if not _is_pai(root):
        raise InputError(f"{root}: not a PhysicalAI-AV dataset: features.csv or clip_index.parquet is missing")
    features = pai_features(root)
    cameras = _cameras(source, options, (name for name in features if features[name]["directory"] == "camera"))
    members = {camera: _members(root, features[camera]) for camera in cameras}
    present = set().union(*members.values()) - _invalid_clips(root)
    clips = []
    for clip_id in _pick(source, options, present):
        for camera in cameras:
            if clip_id in members[camera]:
                uri, info = members[camera][clip_id]
                clips.append(Clip(clip_id, camera, uri, str(root), info.file_size, f"crc32:{info.CRC:08x}"))
    return clips


def _members(root: Path, feature: dict[str, str]) -> dict[str, tuple[str, zipfile.ZipInfo]]:
    """clip_id -> (zip, entry of the video) over the chunk zips of one camera."""
    template = json.loads(feature["clip_files_in_zip"])["video"]
    pattern = re.compile(re.escape(template).replace(re.escape("{clip_id}"), "(?P<clip_id>.+)"))
    found = {}
    parts = re.split(r"\{chunk_id[^}]*\}", feature["chunk_path"])
    for path in sorted(root.glob("*".join(glob.escape(part) for part in parts))):
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (*ZIP_FAULTS, OSError) as error:
            raise InputError(f"{path}: not a readable zip ({error}); fetch it again") from None
        for info in entries:
            match = pattern.fullmatch(info.filename)
            if match:
                found[match["clip_id"]] = (str(path), info)
    return found


def _invalid_clips(root: Path) -> set[str]:
    """Clips that the dataset itself marks as not valid."""
    table = clip_index(root)
    return {clip for clip, valid in zip(table["clip_id"], table["clip_is_valid"], strict=True) if not valid}


def _pai_streamed(source: str) -> list[Clip]:
    from relane.data.physical_ai_av.roots import open_dataset

    rest, options = _options(source, _PAI_OPTIONS)
    repository, _, revision = rest.rstrip("/").partition("@")
    dataset = open_dataset(f"hf://{repository}@{revision or 'main'}")
    if not re.fullmatch(r"[0-9a-f]{40}", dataset.revision):
        # Locked to the commit: what the branch or tag points to later changes nothing.
        try:
            commit = dataset.api.dataset_info(dataset.repo_id, revision=dataset.revision).sha
        except Exception as error:  # network, gate not accepted, no token: each has its own class
            raise InputError(
                f"{source}: its commit cannot be looked up ({type(error).__name__}); set HF_TOKEN for an account that "
                "has accepted the data set's licence, or name the commit: hf://owner/name@<40 hex digits>"
            ) from None
        dataset = open_dataset(f"hf://{repository}@{commit}")
    cameras = _cameras(source, options, dataset.features.CAMERA.ALL)
    index, presence = dataset.clip_index, dataset.feature_presence[cameras]
    valid = index.index[index["clip_is_valid"].astype(bool)]
    present = presence.loc[presence.index.intersection(valid)]
    root = f"hf://{repository}@{dataset.revision}"
    picked = _pick(source, options, present.index[present.any(axis=1)])
    return [Clip(clip_id, camera, "", root) for clip_id in picked for camera in cameras if present.at[clip_id, camera]]
