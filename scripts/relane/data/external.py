"""Videos that were edited elsewhere: found in a folder, below a bucket prefix or in a sheet, and sorted into arms.

An edited video is a file `<clip_id>.<camera>_vp_edit_sample0.mp4`; everything else beside it (`_generated.mp4` and the
like) is left out. Its arm is named by the folders between the root and the file, without those that only repeat the
video's own name or number its chunk (`chunk_0000`); a file that lies in the root itself belongs to the arm named like
the root:

    edits/yellow/<video>_vp_edit_sample0.mp4              edits: arm yellow;  edits/yellow: arm yellow
    results/001/vp/yellow/<video>/<video>_vp_edit_sample0.mp4    results/001/vp: arm yellow

Folders `original` and `floor` are left out: a run makes these arms itself. The Snakefile calls this at every planning,
so it imports nothing but the standard library; a bucket is listed through fsspec.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from relane.addresses import path_of
from relane.arms import FLOOR, ORIGINAL
from relane.data.origin import local_path
from relane.data.sources import cannot_list, checksum_of, filesystem
from relane.errors import InputError
from relane.io.csvfile import read_csv, write_csv
from relane.names import CAMERAS, parse_name
from relane.prompts.instructions import LONGEST_SLUG, slugify

SUFFIX = "_vp_edit_sample0"
GENERATED = "_generated"  # what the original VideoPainter calls the edit itself
# The original VideoPainter paints at one size, whatever the camera's, and its `_vp_edit_sample0.mp4` is four pictures
# side by side: original, masked, mask, edit.
MODEL_SIZE = (720, 480)
PANELS = 4
COLUMNS = ("arm", "clip_id", "camera", "uri", "sidecar", "checksum")
MADE_HERE = (ORIGINAL, FLOOR)  # arms without an edit, which every run makes itself


@dataclass(frozen=True)
class EditedFile:
    """One found video. `sidecar`: the address of a JSON of the same name beside it, or ""."""

    arm: str
    clip_id: str
    camera: str
    uri: str
    sidecar: str = ""
    checksum: str = ""

    @property
    def video(self) -> str:
        """`<clip_id>.<camera>`."""
        return f"{self.clip_id}.{self.camera}"

    @property
    def stem(self) -> str:
        """The file's name without `.mp4`."""
        return PurePosixPath(path_of(self.uri)).stem


def four_panels(width: int, height: int) -> bool:
    """Whether a picture is four side by side: no camera's is wider than three times its height."""
    return width % PANELS == 0 and width > 3 * height


def mosaic_words(uri: str, width: int, height: int) -> str:
    """What to say of a video of four panels: which file beside it is the edit, and how to name it."""
    names = (uri.replace(f"{SUFFIX}.mp4", f"{GENERATED}.mp4"), uri.replace(".mp4", f"{GENERATED}.mp4"))
    there = [name for name in names if "://" not in name and Path(name).is_file()]
    where = f"{there[0]}, which stands beside it" if there else f"{names[0]}, if it is there"
    return (
        f"{uri}: {width}x{height} is four pictures side by side (original, masked, mask, edit), as the original "
        f"VideoPainter writes them, and no camera's. The edit is {where}: make a sheet of such files with "
        f"scripts/find_videos.py --take generated --output edited.csv, and set drive.videos to it"
    )


def check_sizes(files: Iterable[EditedFile], remote: bool = False) -> None:
    """Read the headers of local files. Raises InputError for one that is four panels, as `mosaic_words` says.

    `remote`: also that of the first remote file of each arm, where the network is asked anyway: what wrote one of an
    arm's videos wrote all. A file that cannot be read here is left to its import, which says what is wrong with it.
    """
    seen: set[str] = set()
    for file in files:
        path = local_path(file.uri)
        if path:
            size = _size(path) if Path(path).is_file() and Path(path).stat().st_size else None
        elif remote and file.arm not in seen:
            seen.add(file.arm)
            size = _remote_size(file.uri)
        else:
            continue
        if size and four_panels(*size):
            raise InputError(mosaic_words(file.uri, *size))


def _size(video: Any) -> tuple[int, int] | None:
    """Width and height of a video (a path or an open file), None where it cannot be read."""
    import av

    try:
        with av.open(video) as container:
            return next(((one.width, one.height) for one in container.streams.video), None)
    except (av.error.FFmpegError, OSError):
        return None


def _remote_size(uri: str) -> tuple[int, int] | None:
    fs, path = filesystem(uri)
    try:
        with fs.open(path) as file:
            return _size(file)
    except Exception:  # every store has its own errors; the import meets the same one and says so
        return None


def load(source: str, video_name: str = "auto", suffix: str = SUFFIX) -> list[EditedFile]:
    """The edited videos of a folder, a bucket prefix or a sheet (`.csv`), all (`auto`) or those of one name.

    `suffix` is of the files to take from a folder or prefix. `video_name` is a file's stem, with or without
    `_vp_edit_sample0`; it may be in several arms. Raises InputError
    when nothing is found, no file has that name, a name does not parse, or two files are one video of one arm.
    """
    found = read_sheet(source) if source.endswith(".csv") else discover(source, suffix)
    by_key: dict[tuple[str, str], EditedFile] = {}
    for file in found:
        other = by_key.setdefault((file.arm, file.video), file)
        if other is not file:
            raise InputError(
                f"{other.uri} and {file.uri} are both the video {file.video} of arm {file.arm}; remove one"
            )
    if video_name == "auto":
        return found
    wanted = video_name.removesuffix(".mp4").removesuffix(GENERATED).removesuffix(SUFFIX)
    chosen = [file for file in found if wanted in (file.stem.removesuffix(suffix), file.video)]
    if not chosen:
        names = sorted({file.video for file in found})
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[:3]
        raise InputError(f"drive.video_name {video_name!r}: no such video in {source}; there are {', '.join(near)} ...")
    return chosen


def discover(source: str, suffix: str = SUFFIX) -> list[EditedFile]:
    """The edited videos below a local folder or a bucket prefix, sorted. Raises InputError as `load`."""
    remote = "://" in source and not source.startswith("file://")
    root, files = _remote_files(source) if remote else _local_files(Path(source.removeprefix("file://")))
    wanted = [name for name in sorted(files) if name.endswith(f"{suffix}.mp4")]
    found = []
    for name in wanted:
        clip_id, camera = parse_name(name)
        arm = _arm(root, name, clip_id, camera)
        uri, checksum = files[name]
        sidecar = files.get(f"{name.removesuffix('.mp4')}.json", ("", ""))[0]
        if arm not in MADE_HERE:
            found.append(EditedFile(arm, clip_id, camera, uri, sidecar, checksum))
    if not found:
        raise InputError(f"{source}: no edited videos (<clip_id>.<camera>{suffix}.mp4) in it or below")
    return sorted(found, key=lambda file: (file.arm, file.video, file.uri))


def _arm(root: str, name: str, clip_id: str, camera: str) -> str:
    own = (clip_id, camera, f"{clip_id}.{camera}", PurePosixPath(name).stem)
    folders = [p for p in PurePosixPath(name).parts[:-1] if p not in own and not re.fullmatch(r"chunk_\d+", p)]
    arm = slugify("-".join(folders) or root)[:LONGEST_SLUG].strip("-")
    if not arm:
        raise InputError(f"{root}/{name}: no arm can be named after its folder; rename it to letters and digits")
    return arm


def _local_files(root: Path) -> tuple[str, dict[str, tuple[str, str]]]:
    """The root's name, and each file below it: relative name -> (path, checksum)."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; drive.videos names a folder, a bucket prefix or a sheet (.csv)")
    files = (path for path in root.rglob("*") if path.suffix in (".mp4", ".json"))
    return root.resolve().name, {path.relative_to(root).as_posix(): (str(path), "") for path in files}


def _remote_files(source: str) -> tuple[str, dict[str, tuple[str, str]]]:
    fs, root = filesystem(source)
    try:
        found: dict[str, dict[str, Any]] = fs.find(root, detail=True)
    except Exception as error:  # every store has its own errors; all of them mean "cannot list"
        raise cannot_list(source, error) from None
    root = root.rstrip("/")
    names = {path: path.removeprefix(root).lstrip("/") for path in found}
    return PurePosixPath(root).name, {
        names[path]: (fs.unstrip_protocol(path), checksum_of(info)) for path, info in found.items()
    }


def read_sheet(path: str | Path) -> list[EditedFile]:
    """The rows of a sheet that `write_sheet` wrote. Raises InputError that names the row."""
    files = []
    for row in read_csv(path, COLUMNS, "scripts/find_videos.py writes such a sheet"):
        file = EditedFile(*(row.cells[column] for column in COLUMNS))
        if not re.fullmatch(rf"[a-z0-9][a-z0-9-]{{0,{LONGEST_SLUG - 1}}}", file.arm) or file.arm in MADE_HERE:
            raise InputError(
                f"{path} row {row.number}: arm {file.arm!r} is no name for an arm of edits: use a-z, 0-9 and '-', "
                f"and not {' or '.join(MADE_HERE)}"
            )
        if file.camera not in CAMERAS or not file.clip_id or not file.uri:
            raise InputError(f"{path} row {row.number}: clip_id, camera or uri is blank or of no known camera")
        files.append(file)
    if not files:
        raise InputError(f"{path}: the sheet has no rows; scripts/find_videos.py writes one")
    return files


def write_sheet(path: str | Path, files: Iterable[EditedFile]) -> None:
    """Write found videos as a sheet, atomically, so that later runs do not depend on what a bucket holds by then."""
    write_csv(path, COLUMNS, map(astuple, files))


def of_clips(files: Sequence[EditedFile], videos: Iterable[str], taken: Iterable[str]) -> list[EditedFile]:
    """Those files whose video is one of `videos`, that is in the clip sheet.

    Raises InputError when none is, or when an arm has the name of one in `taken`, the arms that this run edits itself.
    """
    videos = set(videos)
    chosen = [file for file in files if file.video in videos]
    if not chosen:
        raise InputError(
            f"drive.videos: none of the {len(files)} edited videos, such as {files[0].video}, is a drivable video of "
            "the clip sheet; add it with scripts/resolve_clips.py"
        )
    double = sorted({file.arm for file in chosen} & set(taken))
    if double:
        raise InputError(
            f"drive.videos: arm {double[0]!r} is edited by this run too; rename the folder, or take it out of "
            "instructions (or arms)"
        )
    return chosen
