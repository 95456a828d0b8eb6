"""Fetching: what is locked stays, what is broken is refused, and nothing leaves its folder."""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fetch_checkpoints
import fetch_clips
import pandas as pd
import pytest
import yaml

from relane.data import fetch
from relane.data.fetch import RemoteFile, Repo
from relane.errors import InputError
from tests.foreign_videos import zipped

FIRST, SECOND = "a" * 40, "b" * 40


class LocalHub:
    """A hub in memory: `commits` are the contents by commit, `head` is what `main` means; downloads are counted."""

    def __init__(self, commits: dict[str, dict[str, bytes]], head: str = FIRST):
        self.commits, self.head = commits, head
        self.downloads: list[str] = []
        self.asked = 0
        self._lock = threading.Lock()

    def commit(self, repo: Repo) -> str:
        self.asked += 1
        return self.head

    def files(self, repo: Repo, commit: str, paths: list[str] | None = None) -> list[RemoteFile]:
        self.asked += 1
        found = self.commits[commit]
        wanted = found if paths is None else [path for path in paths if path in found]
        return [RemoteFile(path, len(found[path]), hashlib.sha256(found[path]).hexdigest()) for path in wanted]

    def download(self, repo: Repo, commit: str, path: str, folder: Path) -> None:
        with self._lock:
            self.downloads.append(path)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(self.commits[commit][path])


def whole(hub, folder, repo=Repo("org/model"), patterns=("*.bin",)):  # noqa: B008
    return fetch.fetch_whole(hub, "model", repo, patterns, folder / "model", folder / "lock.json")


def test_first_fetch_locks_commit_and_checksums(tmp_path):
    hub = LocalHub({FIRST: {"w.bin": b"weights", "skip.txt": b"no"}})
    assert whole(hub, tmp_path) == FIRST
    entry = json.loads((tmp_path / "lock.json").read_text())["model"]
    assert entry["commit"] == FIRST
    assert entry["files"] == {"w.bin": {"bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}}
    assert hub.downloads == ["w.bin"]


def test_a_branch_that_moves_on_does_not_move_the_lock(tmp_path):
    hub = LocalHub({FIRST: {"w.bin": b"old"}, SECOND: {"w.bin": b"new"}})
    whole(hub, tmp_path)
    hub.head = SECOND
    (tmp_path / "model/w.bin").unlink()
    assert whole(hub, tmp_path) == FIRST
    assert (tmp_path / "model/w.bin").read_bytes() == b"old"


def test_files_in_place_are_checked_without_the_hub(tmp_path):
    hub = LocalHub({FIRST: {"w.bin": b"weights"}})
    whole(hub, tmp_path)
    asked = hub.asked
    whole(hub, tmp_path)
    assert hub.asked == asked


def test_a_changed_local_file_is_fetched_again(tmp_path):
    hub = LocalHub({FIRST: {"a.bin": b"aaaa", "b.bin": b"bbbb"}})
    whole(hub, tmp_path)
    (tmp_path / "model/b.bin").write_bytes(b"xxxx")
    whole(hub, tmp_path)
    assert (tmp_path / "model/b.bin").read_bytes() == b"bbbb"
    assert sorted(hub.downloads) == ["a.bin", "b.bin", "b.bin"]


def test_bytes_that_contradict_the_lock_are_refused_and_removed(tmp_path):
    hub = LocalHub({FIRST: {"w.bin": b"weights"}})
    whole(hub, tmp_path)
    hub.commits[FIRST]["w.bin"] = b"forgery"
    (tmp_path / "model/w.bin").unlink()
    with pytest.raises(InputError, match=r"w\.bin came out wrong .*lock"):
        whole(hub, tmp_path)
    assert not (tmp_path / "model/w.bin").exists()


def test_a_download_cut_short_is_refused(tmp_path):
    class Short(LocalHub):
        def download(self, repo, commit, path, folder):
            folder.joinpath(path).write_bytes(b"we")

    with pytest.raises(InputError, match="2 bytes, not 7"):
        whole(Short({FIRST: {"w.bin": b"weights"}}), tmp_path)
    assert not (tmp_path / "lock.json").exists()


def test_small_files_are_held_against_gits_own_hash(tmp_path):
    # `printf 'hello\n' | git hash-object --stdin`
    remote = RemoteFile("h.txt", 6, git_sha1="ce013625030ba8dba906f756967f9e9ca394464a")
    hub = LocalHub({FIRST: {"h.txt": b"hello\n"}})
    assert fetch.fetch_files(hub, Repo("o/r"), FIRST, [remote], tmp_path)["h.txt"]["bytes"] == 6
    hub.commits[FIRST]["h.txt"] = b"jello\n"
    (tmp_path / "h.txt").unlink()
    with pytest.raises(InputError, match="git's SHA-1"):
        fetch.fetch_files(hub, Repo("o/r"), FIRST, [remote], tmp_path)


def test_a_pin_that_differs_from_the_lock_stops(tmp_path):
    whole(LocalHub({FIRST: {"w.bin": b"weights"}}), tmp_path)
    with pytest.raises(InputError, match="delete that entry"):
        whole(LocalHub({SECOND: {"w.bin": b"weights"}}), tmp_path, Repo("org/model", revision=SECOND))


def test_a_repository_cannot_write_outside_its_folder(tmp_path):
    with pytest.raises(InputError, match="points outside"):
        whole(LocalHub({FIRST: {"../evil.bin": b"x"}}), tmp_path)
    assert not (tmp_path / "evil.bin").exists()


def test_a_damaged_lock_file_is_named(tmp_path):
    (tmp_path / "lock.json").write_text('{"model": {"commit": "main"}}')
    with pytest.raises(InputError, match=r"lock\.json: not a lock file"):
        whole(LocalHub({FIRST: {"w.bin": b"weights"}}), tmp_path)


@pytest.mark.parametrize(("status", "kind"), [(401, "GatedRepoError"), (403, "HfHubHTTPError")])
def test_a_gate_says_what_to_accept(status, kind):
    from huggingface_hub import errors

    error = getattr(errors, kind).__new__(getattr(errors, kind))
    error.response = type("Response", (), {"status_code": status})()
    with (
        pytest.raises(InputError, match=r"accept the terms at https://[a-z.]+/org/gated .*HF_TOKEN"),
        fetch.explained(Repo("org/gated")),
    ):
        raise error


def test_no_network_is_one_line_that_says_how_to_go_on():
    with pytest.raises(InputError, match="run the same command again"), fetch.explained(Repo("org/model")):
        raise ConnectionError("no route")


def test_the_token_comes_from_the_environment_only(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert fetch.HuggingFace()._token is False
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch.HuggingFace()._token == "hf_secret"
    flags = fetch_checkpoints.parser().format_help() + fetch_clips.parser().format_help()
    assert "--token" not in flags


# The two scripts


def test_every_model_is_listed_with_size_and_licence(capsys):
    fetch_checkpoints.main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(fetch_checkpoints.MODELS)
    for (name, model), line in zip(fetch_checkpoints.MODELS.items(), lines[1:], strict=True):
        assert line.startswith(name)
        assert model.licence in line
        assert "GB" in line or "MB" in line


def test_an_unknown_model_is_refused_before_anything_is_fetched(tmp_path):
    with pytest.raises(InputError, match="no model 'sam3'"):
        fetch_checkpoints.main(["sam2", "sam3", "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, Path]]:
    """What would be fetched, and into which folder: no network."""
    found = []
    monkeypatch.setattr(fetch_checkpoints, "fetch", lambda name, output, *_: found.append((name, output)))
    return found


def test_without_names_all_that_edits_and_metrics_read_by_default_is_fetched(asked, tmp_path, capsys):
    fetch_checkpoints.main(["--output", str(tmp_path)])
    config = yaml.safe_load((Path(__file__).parents[1] / "config/config.yaml").read_text())
    folders = set()
    for name, output in asked:
        model = fetch_checkpoints.MODELS[name]
        folders |= {str(Path("checkpoints") / part) for part in (*model.parts, model.folder)}
        assert output == tmp_path
    wanted = {key: folder for key, folder in config["checkpoints"].items() if folder and key != "alpamayo"}
    assert {key for key, folder in wanted.items() if folder not in folders} == set()
    assert {"clip_score", "clip_temporal", "lpips"} <= wanted.keys()
    said = capsys.readouterr().err
    assert "flux_fill: FLUX.1 [dev] non-commercial (gated)" in said, "the terms are shown before anything is fetched"


def test_names_are_fetched_and_nothing_else(asked, tmp_path):
    fetch_checkpoints.main(["alpamayo", "alpamayo_vlm", "--output", str(tmp_path)])
    assert [name for name, _ in asked] == ["alpamayo", "alpamayo_vlm"]


def test_a_model_that_is_refused_does_not_keep_the_others_from_being_fetched(monkeypatch, tmp_path):
    fetched = []

    def gate(name: str, *_: object) -> None:
        if name == "flux_fill":
            raise InputError("the hub refuses access (403)")
        fetched.append(name)

    monkeypatch.setattr(fetch_checkpoints, "fetch", gate)
    with pytest.raises(InputError, match=r"1 of 8 models were not fetched:\nflux_fill: the hub refuses access"):
        fetch_checkpoints.main(["--output", str(tmp_path)])
    assert fetched[-3:] == ["clip_score", "clip_temporal", "lpips"]


def test_videopainter_lands_where_the_configuration_looks(tmp_path):
    hub = LocalHub(
        {
            FIRST: {
                "VideoPainter/checkpoints/branch/config.json": b"{}",
                "VideoPainterID/checkpoints/pytorch_lora_weights.safetensors": b"w",
                "README.md": b"no",
            }
        }
    )
    fetch_checkpoints.fetch("videopainter", tmp_path, tmp_path / "lock.json", hub)
    branch = tmp_path / "VideoPainter/checkpoints/branch"
    assert (branch / "config.json").is_file()
    assert (branch / ".revision").read_text() == f"TencentARC/VideoPainter@{FIRST}\n"
    assert not (tmp_path / "README.md").exists()


def test_a_flux_folder_leaves_the_single_file_copies_out():
    names = ["model_index.json", "vae/config.json", "vae/x.safetensors", "tokenizer/merges.txt", "ae.safetensors"]
    chosen = fetch.choose([RemoteFile(name, 1) for name in names], fetch_checkpoints.DIFFUSERS)
    assert {file.path for file in chosen} == set(names) - {"ae.safetensors"}


def pai(tmp_path: Path) -> LocalHub:
    """Two chunks of one clip each, one camera, in PhysicalAI-AV's layout."""
    camera, labels = "camera_front_wide_120fov", fetch_clips.DRIVER_LABELS
    rows = ["directory,feature,chunk_path,clip_files_in_zip"]
    rows += [f"x,{camera},x/{camera}.chunk_{{chunk_id:04d}}.zip,"]
    rows += [f"x,{name},x/{name}.chunk_{{chunk_id:04d}}.parquet," for name in labels]
    index = pd.DataFrame({"chunk": [0, 1]}, index=pd.Index(["clip-a", "clip-b"], name="clip_id"))
    index.to_parquet(tmp_path / "index")
    files = {"features.csv": "\n".join(rows).encode(), "clip_index.parquet": (tmp_path / "index").read_bytes()}
    for chunk, clip in enumerate(("clip-a", "clip-b")):
        members = [(f"{clip}.{camera}.mp4", b"video"), (f"{clip}.{camera}.timestamps.parquet", b"times")]
        files[f"x/{camera}.chunk_{chunk:04d}.zip"] = zipped(tmp_path / "z", *members).read_bytes()
        files |= {f"x/{name}.chunk_{chunk:04d}.parquet": b"label" for name in labels}
    return LocalHub({FIRST: files, SECOND: files})


def clips(hub: LocalHub, *argv: str) -> None:
    fetch_clips.fetch(fetch_clips.parser().parse_args([*argv, "--cameras", "camera_front_wide_120fov"]), hub)


def test_a_clip_is_fetched_with_its_chunk_and_unpacked(tmp_path):
    hub, out = pai(tmp_path), tmp_path / "pai"
    clips(hub, "--output", str(out), "--clip-ids", "clip-b", "--unpack", "true")
    fetched = {Path(path).name.partition(".")[::2] for path in hub.downloads if "chunk_" in path}
    assert fetched == {("camera_front_wide_120fov", "chunk_0001.zip")} | {
        (name, "chunk_0001.parquet") for name in fetch_clips.DRIVER_LABELS
    }
    assert [path.name for path in (out / "videos").iterdir()] == ["clip-b.camera_front_wide_120fov.mp4"]


def test_a_second_fetch_adds_to_the_lock_and_stays_at_its_commit(tmp_path):
    hub, out = pai(tmp_path), tmp_path / "pai"
    clips(hub, "--output", str(out), "--chunks", "0")
    hub.head = SECOND
    clips(hub, "--output", str(out), "--chunks", "1")
    entry = next(iter(json.loads((out / "clips.lock.json").read_text()).values()))
    assert entry["commit"] == FIRST
    assert len(entry["files"]) == 2 + 2 * 5
    assert len(hub.downloads) == len(entry["files"])


def test_two_data_sets_in_one_folder_keep_both_their_locks(tmp_path):
    """The second fetch wrote the lock file anew, and the first was no longer held to its commit."""
    out = tmp_path / "data"
    clips(pai(tmp_path), "--output", str(out), "--chunks", "0")
    before = json.loads((out / "clips.lock.json").read_text())
    clips(LocalHub({FIRST: {"a.csv": b"a,b"}}), "--source", "vpdata", "--output", str(out), "--files", "*.csv")
    after = json.loads((out / "clips.lock.json").read_text())
    assert set(after) == {repo.id for repo in fetch_clips.REPOS.values()}
    assert before.items() <= after.items()


def test_fetches_at_once_all_leave_their_files_in_the_lock(tmp_path):
    hub = pai(tmp_path)
    fetchers = [fetch_clips.Fetcher(hub, fetch_clips.REPOS["pai"], tmp_path / "pai", 1) for _ in range(2)]
    for chunk, fetcher in enumerate(fetchers):  # both have read the lock file before either writes it
        fetcher.fetch(fetcher.find([f"x/egomotion.chunk_{chunk:04d}.parquet"]))
    (entry,) = json.loads((tmp_path / "pai/clips.lock.json").read_text()).values()
    assert set(entry["files"]) == {f"x/egomotion.chunk_{chunk:04d}.parquet" for chunk in (0, 1)}
    late = fetch_clips.Fetcher(hub, fetch_clips.REPOS["pai"], tmp_path / "pai", 1)
    late.commit = SECOND
    with pytest.raises(InputError, match="was locked at aaaaaaaaaaaa while bbbbbbbbbbbb was fetched"):
        late.fetch(late.find(["features.csv"]))


def test_many_processes_add_to_one_lock(tmp_path):
    def add(number: int) -> None:
        fetch.add_to_lock(tmp_path / "lock.json", f"m{number % 4}", Repo("o/m"), FIRST, {f"{number}": {"bytes": 1}})

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(add, range(64)))
    lock = json.loads((tmp_path / "lock.json").read_text())
    assert sorted(int(name) for entry in lock.values() for name in entry["files"]) == list(range(64))


def test_listing_clips_fetches_none_of_them(tmp_path, capsys):
    hub = pai(tmp_path)
    clips(hub, "--output", str(tmp_path / "pai"), "--chunks", "0-1", "--list")
    assert not [path for path in hub.downloads if "chunk_" in path]
    assert f"in 10 files at {FIRST}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "either --chunks"),
        (("--chunks", "7"), "no chunk 7"),
        (("--chunks", "3-1"), "write 0-19"),
        (("--clip-ids", "clip-z"), "no clip 'clip-z'"),
    ],
)
def test_clips_that_do_not_exist_are_named(tmp_path, argv, message):
    with pytest.raises(InputError, match=message):
        clips(pai(tmp_path), "--output", str(tmp_path / "pai"), *argv)


def test_chunk_ranges_include_their_end():
    assert fetch_clips.chunk_numbers("0-3,7") == [0, 1, 2, 3, 7]


def test_vpdata_is_chosen_by_pattern_and_unpacked_beside_itself(tmp_path):
    archive = zipped(tmp_path / "m.zip", ("000/mask.npz", b"mask")).read_bytes()
    hub = LocalHub({FIRST: {"videovo.csv": b"a,b", "masks/m_0.zip": archive, "masks/m_1.zip": archive}})
    out = tmp_path / "vp"
    clips(hub, "--source", "vpdata", "--output", str(out), "--files", "masks/m_0*", "--unpack", "true")
    assert hub.downloads == ["masks/m_0.zip"]
    assert (out / "masks/m_0/000/mask.npz").read_bytes() == b"mask"
    with pytest.raises(InputError, match="say which files"):
        clips(hub, "--source", "vpdata", "--output", str(out))
