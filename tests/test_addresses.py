"""Addresses without their secrets, and secrets that still fetch."""

import base64
import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import import_video
import prepare_clip
import pytest
import resolve_clips
from hypothesis import given
from hypothesis import strategies as st

from relane.addresses import hide, hide_all, path_of, redact, reveal
from relane.data.clips import fetch
from relane.data.external import EditedFile
from relane.data.sheet import read_sheet
from relane.errors import InputError
from relane.io.files import write_json
from relane.workflow.provenance import without_logins
from tests import foreign_videos
from tests.foreign_videos import numbered

ROOT = Path(__file__).parents[1]
FRONT = "camera_front_wide_120fov"
SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://host/a.mp4", "https://host/a.mp4"),
        ("https://me:s3cr3t@host:8443/a.mp4", "https://***@host:8443/a.mp4"),
        ("https://s3cr3t@host/a.mp4?x=1", "https://***@host/a.mp4?***"),
        ("https://host/a.mp4?X-Goog-Signature=s3cr3t&b=2#s3cr3t", "https://host/a.mp4?***"),
        ("https://host/a.mp4#access_token=s3cr3t", "https://host/a.mp4?***"),
        ("ftp://me:p@s3cr3t@host/a.mp4: cannot be fetched", "ftp://***@host/a.mp4: cannot be fetched"),
        ("https://host/a.mp4?t=s3cr3t: cannot (404, url='https://me:s3cr3t@host/?q=s3cr3t'), try",
         "https://host/a.mp4?***: cannot (404, url='https://***@host/?***'), try"),
        ("s3://bucket/a@b.mp4 and gs://b/c", "s3://bucket/a@b.mp4 and gs://b/c"),
        ("hf://owner/name@main?cameras=front&limit=3", "hf://owner/name@main?cameras=front&limit=3"),
        ("chunks://bucket/day?start=0&end=3", "chunks://bucket/day?start=0&end=3"),
        ("a file with ?marks and me@home", "a file with ?marks and me@home"),
    ],
)  # fmt: skip
def test_user_information_and_query_of_any_url_are_taken_out(text, clean):
    assert redact(text) == clean
    assert redact(clean) == clean


words = st.text("abcdefgh0123-._~%", min_size=1, max_size=12)


@given(words, words, words, words)
def test_a_hidden_address_holds_no_secret_stays_as_it_is_and_is_found_again(user, password, key, value):
    address = f"https://{user}Q:{password}Q@host/folder/a.mp4?{key}Q={value}Q"
    hidden = hide(address)
    assert "Q" not in hidden
    assert redact(hidden) == hide(hidden) == hidden
    assert reveal(hidden) == address


def test_two_addresses_of_one_path_stay_two():
    assert hide("https://host/get?id=1") != hide("https://host/get?id=2")


def test_an_address_without_secrets_and_a_path_are_left_alone():
    before = dict(os.environ)
    for plain in ("gs://bucket/a.mp4", "data/what?.mp4", "pai://folder?cameras=a", "", "lane double yellow"):
        assert hide(plain) == reveal(plain) == plain
    assert os.environ == before


def test_a_configuration_is_hidden_as_deep_as_it_goes():
    config = {"a": [{"b": f"https://host/x?t={SECRET}"}], "c": 3, "d": None, "e": f"ftp://u:{SECRET}@h/x"}
    assert SECRET not in json.dumps(hide_all(config))
    assert SECRET not in json.dumps(without_logins(config))
    assert hide_all(config)["c"] == 3


def test_no_message_about_bad_input_names_a_secret():
    assert SECRET not in str(InputError(f"https://me:{SECRET}@host/a.mp4?sig={SECRET}: no such file"))


# Over a server that asks for both


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder to whoever names the token in the query, or logs in."""

    def send_head(self):
        login = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
        if f"token={SECRET}" not in self.path and self.headers.get("Authorization") != login:
            self.send_error(403)
            return None
        return super().send_head()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """Host and port of a server of `tmp_path/served`, which holds a video of six frames."""
    (tmp_path / "served").mkdir()
    foreign_videos.write(tmp_path / "served" / f"a.{FRONT}.mp4", numbered(6), fps=10)
    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def addresses(server: str) -> list[str]:
    return [f"http://{server}/a.{FRONT}.mp4?token={SECRET}", f"http://me:{SECRET}@{server}/a.{FRONT}.mp4"]


@pytest.mark.parametrize("kind", [0, 1])
def test_a_clip_is_fetched_with_its_secret_and_its_record_has_none(server, tmp_path, kind, capfd):
    address = addresses(server)[kind]
    out = ["--clip-id", "a", "--camera", FRONT, "--output", str(tmp_path / "a.mp4")]
    short = ["--min-frames", "1", "--record-failures", "false"]
    for uri in (address, hide(address)):
        prepare_clip.main(["--uri", uri, *out, *short, "--sidecar", str(tmp_path / "a.json")])
        record = json.loads((tmp_path / "a.json").read_text())
        assert record["source"]["uri"] == hide(address)
    import_video.main(["--uri", hide(address), *out, "--sidecar", str(tmp_path / "b.json")])
    with pytest.raises(InputError, match="cannot be fetched") as caught:
        fetch(address.replace("/a.", "/none."), "", "a", FRONT, "", tmp_path)
    written = "".join(path.read_text() for path in tmp_path.glob("*.json"))
    assert SECRET not in written + str(caught.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize("kind", [0, 1])
def test_an_address_with_a_secret_is_one_video_named_after_its_path(server, tmp_path, kind, capfd):
    address, sheet = addresses(server)[kind], tmp_path / "s.csv"
    resolve_clips.main([address, "--output", str(sheet)])
    (clip,) = read_sheet(sheet)
    assert (clip.clip_id, clip.camera, clip.uri) == ("a", FRONT, address)
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://host/a.mp4?sig=1/x.zip", "https://host/a.mp4"),
        ("https://host/a.mp4?hidden=0123456789ab", "https://host/a.mp4"),
        ("gs://bucket/a.mp4#17", "gs://bucket/a.mp4"),
        ("https://host/a.mp4", "https://host/a.mp4"),
        ("drives/what?.mp4", "drives/what?.mp4"),
        ("file:///drives/what?.mp4", "file:///drives/what?.mp4"),
    ],
)
def test_a_file_is_told_by_the_path_of_its_address(address, path):
    assert path_of(address) == path


def test_an_edit_behind_a_signed_address_has_its_own_name():
    file = EditedFile("x", "a", FRONT, f"https://host/a.{FRONT}_vp_edit_sample0.mp4?sig={SECRET}")
    assert file.stem == f"a.{FRONT}_vp_edit_sample0"


def test_listing_says_nothing_of_the_secret(server, tmp_path, capfd):
    with pytest.raises(InputError) as caught:
        resolve_clips.main([addresses(server)[0].replace("/a.", "/none."), "--output", str(tmp_path / "s.csv")])
    assert SECRET not in str(caught.value) + "".join(capfd.readouterr())


def test_snakemake_fetches_a_signed_source_and_keeps_its_secret_nowhere(server, tmp_path):
    """Not in logs, records, its own metadata of parameters and commands, or what it prints with -p."""
    folder = tmp_path / "work"
    folder.mkdir()
    rows = [f"{name},{FRONT},{address},,," for name, address in zip("ab", addresses(server), strict=True)]
    (folder / "clips.csv").write_text("\n".join(["clip_id,camera,uri,pai_root,size,checksum", *rows, ""]))
    config = {
        "run": "signed",
        "clips": "clips.csv",
        "instructions": "lane double yellow solid",
        "clip": {"min_frames": 1, "max_frames": 6},
    }
    write_json(folder / "config.json", config)
    snakemake = [str(Path(sys.executable).with_name("snakemake")), "-s", str(ROOT / "Snakefile"), "--cores", "1", "-p"]
    command = [*snakemake, "--configfile", "config.json", "--resources", "network=1", "--", "clips"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((folder / "results/signed/clips").glob("*.mp4"))) == 2
    (folder / "clips.csv").unlink()
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert SECRET not in done.stdout + done.stderr
    assert not [path for path, data in kept.items() if SECRET.encode() in data]
