"""Provenance: enough to tell two runs apart, and nothing that should not be told."""

import json
import subprocess
from pathlib import Path

import provenance as script
import pytest

from relane import provenance
from relane.errors import InputError


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
