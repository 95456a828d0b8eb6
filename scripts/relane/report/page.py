"""Render the page, and put it with its media into one folder that can be moved as a whole."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from relane.io.files import atomic_folder
from relane.report.gather import Media, Report
from relane.report.tables import Cell, Table, megabytes
from relane.workflow.provenance import REPOSITORY, UNKNOWN, git_state

PARTS = Path(__file__).parent / "page"


def render(report: Report) -> str:
    """The page's HTML. All texts of the run are escaped; styles and script are inline, so nothing is fetched."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PARTS), autoescape=True, undefined=jinja2.StrictUndefined
    )
    inline = {name: Markup((PARTS / file).read_text(encoding="utf-8")) for name, file in _INLINE.items()}
    template = environment.get_template("template.html.j2")
    view = provenance_view(report.provenance, git_state(REPOSITORY))
    return template.render(report=report, provenance=view, **inline)


_INLINE = {"style": "style.css", "script": "sync.js"}


def write(report: Report, folder: Path) -> None:
    """Write `folder`/index.html and `folder`/media, whole or not at all; an older report there is replaced."""
    html = render(report)
    with atomic_folder(folder) as partial:
        (partial / "media").mkdir()
        for item in report.media():
            _place(item, partial / "media")
        (partial / "index.html").write_text(html, encoding="utf-8")


def _place(item: Media, folder: Path) -> None:
    target = folder / item.name
    target.parent.mkdir(parents=True, exist_ok=True)
    source = item.source.resolve()
    try:
        # Results are replaced by renaming, never written in place, so a second name for the bytes is safe and free.
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def commit_text(code: dict[str, Any]) -> str:
    """A commit and whether the code was as it says."""
    clean = {True: "clean", False: "changed since that commit"}.get(code.get("clean"), "state unknown")
    return f"{code.get('commit', 'unknown')} ({code.get('why') or clean})"


def same_commit(group: dict[str, Any], here: str) -> bool | None:
    """Whether files were made at the page's own commit; None where one of the two is unknown."""
    known = UNKNOWN not in (group.get("commit", UNKNOWN), here)
    return group["commit"] == here if known else None


def made_by_table(groups: list[dict[str, Any]], here: str) -> Table:
    """What made the run's files: a row for each script and state of the code; `here` is the page's own commit."""
    table = Table("What made the files", ["files", "commit", "code", "weights", ""])
    for group in groups:
        weights = ", ".join(f"{name} {digest}" for name, digest in group.get("weights", {}).items())
        note = {True: "", False: "another commit than this page's", None: "commit unknown"}[same_commit(group, here)]
        texts = [str(group["files"]), commit_text(group), group.get("code", "–"), weights or "–", note]
        table.rows.append((str(group.get("script", "unknown")), [Cell(text) for text in texts]))
    return table


def provenance_view(record: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    """The provenance record as facts, tables and the configuration's text; `here` is the state of the page's code."""
    code, hardware = record.get("code", {}), record.get("hardware", {})
    groups = record.get("made_by", [])
    files = dict.fromkeys((True, False, None), 0)
    for group in groups:
        files[same_commit(group, here["commit"])] += group["files"]
    others = f"{files[False]} of {sum(files.values())}" + (f", {files[None]} unknown" if files[None] else "")
    gpus = ", ".join(f"{gpu['name']} ({megabytes(gpu['memory_bytes'])})" for gpu in hardware.get("gpus", []))
    facts = [
        ("this page was made at commit", commit_text(here)),
        ("provenance was gathered at commit", commit_text(code)),
        ("files made at another commit", others),
        ("Python", str(record.get("python", "–"))),
        ("CPU", f"{hardware.get('cpu', '–')}, {hardware.get('cores', '–')} cores"),
        ("memory", megabytes(hardware.get("memory_bytes"))),
        ("GPU", gpus or "none"),
    ]
    checkpoints = Table("Checkpoints", ["folder", "digest", "revision"])
    for name, item in record.get("checkpoints", {}).items():
        cells = [str(item.get(key) or "–") for key in ("folder", "digest", "revision")]
        checkpoints.rows.append((name, [Cell(text) for text in cells]))
    packages = Table("Packages", ["version"])
    packages.rows = [(name, [Cell(str(version))]) for name, version in record.get("packages", {}).items()]
    config = json.dumps(record.get("config", {}), indent=2, ensure_ascii=False)
    tables = [made_by_table(groups, here["commit"]), checkpoints, packages]
    return {"facts": facts, "tables": tables, "config": config}
