"""A code digest moves when, and only when, code that the script imports changes."""

import os
from pathlib import Path

import pytest

from relane.io.weights_digest import lora_digest, weights_digest
from relane.workflow.code_digest import code_digest, code_files


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Two scripts over a small package: edit.py imports net (late) and files; mask.py imports files alone."""
    package = tmp_path / "relane"
    (package / "painter").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "files.py").write_text("A = 1\n")
    (package / "painter" / "__init__.py").write_text("")
    (package / "painter" / "net.py").write_text("from . import blocks\nfrom ..files import A\n")
    (package / "painter" / "blocks.py").write_text("B = 2\n")
    (tmp_path / "edit.py").write_text("import json\ndef run():\n    from relane.painter.net import blocks\n")
    (tmp_path / "mask.py").write_text("from relane import files\n")
    return tmp_path


def digest(script: Path) -> str:
    code_digest.cache_clear()
    return code_digest(script)


def test_late_and_relative_imports_count(scripts):
    names = {str(path.relative_to(scripts)) for path in code_files(scripts / "edit.py")}
    assert names == {
        "edit.py",
        "relane/__init__.py",
        "relane/files.py",
        "relane/painter/__init__.py",
        "relane/painter/blocks.py",
        "relane/painter/net.py",
    }


def test_a_change_in_an_imported_module_moves_only_the_scripts_that_import_it(scripts):
    edit, mask = digest(scripts / "edit.py"), digest(scripts / "mask.py")
    (scripts / "relane" / "painter" / "blocks.py").write_text("B = 3\n")
    assert digest(scripts / "edit.py") != edit
    assert digest(scripts / "mask.py") == mask


def test_touching_a_file_and_its_line_ends_move_nothing(scripts):
    before = digest(scripts / "mask.py")
    (scripts / "relane" / "files.py").write_bytes(b"A = 1  \r\n")
    os.utime(scripts / "mask.py", (1, 1))
    assert digest(scripts / "mask.py") == before


def test_what_an_option_means_moves_nothing_but_its_default_does(scripts):
    """Better words for people are no reason to paint again."""
    declared = 'from relane.config.option import option\nstride = option({}, "{}", ge=1)\n'
    (scripts / "relane" / "files.py").write_text(declared.format(40, "Frames."))
    before = digest(scripts / "mask.py")
    (scripts / "relane" / "files.py").write_text(declared.format(40, "Frames from window to window."))
    assert digest(scripts / "mask.py") == before
    (scripts / "relane" / "files.py").write_text(declared.format(44, "Frames."))
    assert digest(scripts / "mask.py") != before


def test_comments_docstrings_and_places_move_nothing(scripts):
    plain = "from relane import files\nclass A:\n    def f(self):\n        return 1\n"
    told = '''"""A module."""

from relane import files  # why


class A:
    """A class."""

    def f(
        self,
    ):
        """A method."""
        return (1)
'''
    for path in (scripts / "mask.py", scripts / "relane" / "files.py"):
        path.write_text(plain)
        before = digest(scripts / "mask.py")
        path.write_text(told)
        assert digest(scripts / "mask.py") == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = 1", "a = 1.0"),
        ("a = 'b'", "a = b'b'"),
        ("a = b + c", "a = b - c"),
        ("def f(a, b): pass", "def f(b, a): pass"),
        ("def f(a=1): pass", "def f(*, a=1): pass"),
        ("f(a)", "f(*a)"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("if a:\n    b\nc", "if a:\n    b\n    c"),
        ("def f():\n    'said'\n    a", "def f():\n    a\n    'said'"),
        ("async def f(): pass", "def f(): pass"),
        ("a: int = 1", "a = 1"),
    ],
)
def test_every_change_of_what_runs_moves_the_digest(scripts, before, after):
    (scripts / "mask.py").write_text(before)
    old = digest(scripts / "mask.py")
    (scripts / "mask.py").write_text(after)
    assert digest(scripts / "mask.py") != old


def weights(path: Path) -> str:
    weights_digest.cache_clear()
    return weights_digest(path)


def test_large_weights_of_one_size_differ_by_a_byte_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = bytearray(9 << 20)
    found = set()
    for place in (0, 5 << 20, len(content) - 1):
        content[place] ^= 1
        (tmp_path / "model.safetensors").write_bytes(content)
        found |= {weights(tmp_path / "model.safetensors")}
    assert len(found) == 3


def test_a_checkpoint_is_its_weights_and_not_its_place_or_what_lies_beside_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "w.safetensors").write_bytes(b"w" * (2 << 20))
    before = weights(folder)
    for name in (".cache/huggingface/x.lock", ".git/HEAD", ".gitattributes", ".revision", "README.md", "LICENSE.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("beside")
    os.utime(folder / "unet" / "w.safetensors", (1, 1))
    assert weights(folder) == before
    folder.rename(tmp_path / ".hidden_elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / ".hidden_elsewhere")
    assert weights(tmp_path / ".hidden_elsewhere") == weights(tmp_path / "link") == before
    (tmp_path / "link" / "unet" / "merges.txt").write_text("counts")
    assert weights(tmp_path / "link") != before


def test_weights_behind_links_count_and_a_ring_of_links_ends(tmp_path):
    folder, shared = tmp_path / "model", tmp_path / "shared"
    folder.mkdir()
    shared.mkdir()
    (shared / "t5.bin").write_bytes(b"one")
    (folder / "text_encoder").symlink_to(shared)
    (folder / "ring").symlink_to(folder)
    before = weights(folder)
    (shared / "t5.bin").write_bytes(b"two")
    assert weights(folder) != before


def test_a_loras_scale_beside_its_file_counts(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"a")
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8}')
    before = lora_digest(tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 9}')
    weights_digest.cache_clear()
    assert lora_digest(tmp_path / "adapter_model.safetensors") != before


def test_weights_digest_sees_content_and_says_absent(tmp_path):
    assert weights_digest(tmp_path / "none") == "absent"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights_digest.cache_clear()
    before = weights_digest(folder)
    (folder / "config.json").write_text("[]")
    weights_digest.cache_clear()
    changed = weights_digest(folder)
    assert changed != before
    (folder / "README.md").write_text("a model card")
    weights_digest.cache_clear()
    assert weights_digest(folder) == changed
