"""Provenance: enough to tell two runs apart, and nothing that should not be told."""

import json
import subprocess
import sys
from pathlib import Path

import provenance as script
import pytest

from relane.errors import InputError
from relane.workflow import provenance
from relane.workflow.code_digest import code_digest


def git(folder: Path, *args: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *args], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("a = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def test_a_checkout_tells_its_commit_and_whether_it_is_clean(checkout):
    state = provenance.git_state(checkout)
    assert len(state["commit"]) == 40
    assert state["clean"] is True
    (checkout / "code.py").write_text("a = 2\n")
    assert provenance.git_state(checkout) == {"commit": state["commit"], "clean": False}


def test_outside_a_checkout_the_commit_is_unknown(tmp_path, checkout):
    assert provenance.git_state(tmp_path) == {"commit": "unknown", "clean": "unknown"}
    inner = checkout / "copy"
    inner.mkdir()
    assert provenance.git_state(inner)["commit"] == "unknown"


def test_a_checkout_of_another_user_tells_its_commit_too(checkout, monkeypatch):
    """Git refuses to speak of another user's checkout; its own tests make it believe that it is in one."""
    before = provenance.git_state(checkout)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    refused = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    assert "dubious ownership" in refused.stderr
    assert provenance.git_state(checkout) == before


def test_a_checkout_that_git_cannot_read_says_why(checkout, capsys):
    (checkout / ".git" / "HEAD").write_text("nonsense")
    state = provenance.git_state(checkout)
    assert (state["commit"], state["clean"]) == ("unknown", "unknown")
    assert "not a git repository" in state["why"]
    assert state["why"] in capsys.readouterr().err


def test_without_git_the_record_says_so(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "git" in provenance.git_state(checkout)["why"]


SCRIPT = """
import argparse, json, sys
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--output", type=Path)
parser.add_argument("--status", type=int, default=0)
args = parser.parse_args()
args.output.write_text(json.dumps({"frames": 9}))
sys.exit(args.status) if args.status else None
"""


def recorded(folder: Path, *flags: str) -> subprocess.CompletedProcess:
    """A script of this folder, run by scripts/recorded.py as the rules do."""
    (folder / "work.py").write_text(SCRIPT)
    command = [sys.executable, Path(script.__file__).with_name("recorded.py"), "--record", folder / "out.json"]
    command += [folder / "work.py", "--output", folder / "out.json", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_stage_writes_what_it_was_made_by_into_its_record(tmp_path):
    assert recorded(tmp_path).returncode == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["frames"] == 9
    made_by = record["made_by"]
    assert made_by["script"] == "work.py"
    assert made_by["code"] == code_digest(tmp_path / "work.py")
    assert {"commit", "clean"} <= made_by.keys()
    assert made_by["packages"]["numpy"]
    assert recorded(tmp_path, "--status=3").returncode == 3
    assert "made_by" not in json.loads((tmp_path / "out.json").read_text())


def made(folder: Path, name: str, **made_by) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"made_by": made_by} if made_by else {}))


def test_a_run_whose_files_are_of_two_commits_says_so(tmp_path):
    """As after an update of the code: some files were made anew, the others are as they were."""
    old, new = {"script": "edit_video.py", "commit": "a" * 40}, {"script": "edit_video.py", "commit": "b" * 40}
    for number in range(3):
        video = f"clip{number}.front"
        made(tmp_path, f"vp/sham/{video}/{video}_vp_edit_sample0.json", **(new if number else old))
        made(tmp_path, f"clips/{video}.json", script="prepare_clip.py", commit="a" * 40)
    made(tmp_path, "sam2/clip0.front/timing.json")  # an older release wrote nothing
    made(tmp_path, "vp/gone/clip0.front/x.json", **old)  # an arm that the run no longer has
    made(tmp_path, "drive/alpamayo_r1/sham/clip0/clip0_t0_5100000_inference.json", script="drive.py", commit="b" * 40)
    (tmp_path / "config.json").write_text("{}")
    videos = [f"clip{number}.front" for number in range(3)]
    flags = ["--run-folder", str(tmp_path), "--videos", *videos, "--arms", "original", "sham"]
    script.main(["--config-json", str(tmp_path / "config.json"), "--output", str(tmp_path / "p.json"), *flags])
    groups = json.loads((tmp_path / "p.json").read_text())["made_by"]
    assert [(group["script"], group["commit"][:1], group["files"]) for group in groups] == [
        ("drive.py", "b", 1),
        ("edit_video.py", "a", 1),
        ("edit_video.py", "b", 2),
        ("prepare_clip.py", "a", 3),
        ("unknown", "u", 1),
    ]


def test_packages_are_the_direct_dependencies(tmp_path):
    (tmp_path / "direct.txt").write_text("# reasons\nnumpy==1.0  # arrays\n\nno-such-package-here==2\n")
    versions = provenance.packages(tmp_path / "direct.txt")
    assert list(versions) == ["no-such-package-here", "numpy"]
    assert versions["no-such-package-here"] == "absent"
    assert versions["numpy"] not in ("absent", "1.0")


def test_a_checkpoint_is_known_by_digest_and_revision(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(b"weights")
    before = provenance.checkpoint(str(folder))
    assert before["revision"] is None
    (folder / ".revision").write_text("org/model@abc\n")
    after = provenance.checkpoint(str(folder))
    assert after["revision"] == "org/model@abc"
    assert after["digest"] != "absent"
    assert provenance.checkpoint(str(tmp_path / "none"))["digest"] == "absent"


def test_the_record_holds_the_config_but_no_login_and_no_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_mine")
    config = {"run": "t", "clips": ["https://me:pw@host/a.mp4"], "checkpoints": {"sam2": "none/sam2", "lpips": ""}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    output = tmp_path / "out" / "provenance.json"
    script.main(["--config-json", str(tmp_path / "config.json"), "--output", str(output)])
    text = output.read_text()
    record = json.loads(text)
    assert record["config"]["clips"] == ["https://***@host/a.mp4"]
    assert list(record["checkpoints"]) == ["sam2"]
    assert record["hardware"]["cores"] >= 1
    assert record["hardware"]["memory_bytes"] > 1 << 20
    assert "torch" in record["packages"]
    for private in ("hf_secret_of_mine", "me:pw", str(Path.home()), str(tmp_path)):
        assert private not in text


def test_the_same_run_gives_the_same_bytes(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for name in ("a.json", "b.json"):
        script.main(["--config-json", str(tmp_path / "config.json"), "--output", str(tmp_path / name)])
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_config_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="expected one JSON object"):
        script.main(["--config-json", str(tmp_path / "config.json"), "--output", str(tmp_path / "out.json")])
    assert not (tmp_path / "out.json").exists()
