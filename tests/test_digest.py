"""A code digest moves when, and only when, code that the script imports changes."""

import os
from pathlib import Path

import pytest

from relane.digest import code_digest, code_files, weights_digest


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
