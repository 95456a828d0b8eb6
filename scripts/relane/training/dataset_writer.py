"""Write a whole dataset, with its counts and charts.

Apart from `relane.training.dataset`, which reads them, so that another chart is no reason to caption or to train again.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from relane.errors import InputError
from relane.io.csvfile import write_csv
from relane.io.files import write_json
from relane.prompts import lanes
from relane.training import dataset_pictures
from relane.training.dataset import COLUMNS, LIST, Row, place, stays, write_rows

# What the stages write into a dataset's folder; frames and their raw captions (items/, captioned/) live beside these.
MEMBERS = ("images", "masks", "captions", "stats.json", "attributes.png", "samples.png", "rejected.csv", LIST)


class Writer:
    """A dataset in the making: rows are added, then `finish` puts every member in its place at once.

    Files are gathered in a hidden folder inside `folder`, so that they move by renaming and an error or a kill
    leaves the old dataset as it was; while they move there is no list, and so no dataset. Used as a context manager.
    """

    def __init__(self, folder: str | Path, mode: str = "hardlink") -> None:
        self.folder, self.mode = Path(folder), mode
        self.partial = self.folder / f".partial.{os.getpid()}"
        self.rows: list[Row] = []
        self.names: set[str] = set()
        self.sources: list[tuple[Path, Path]] = []

    def __enter__(self) -> "Writer":
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.partial, ignore_errors=True)
        for name in ("images", "masks", "captions"):
            (self.partial / name).mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)

    def add(self, row: Row, source: str | Path, caption: dict, name: str = "") -> None:
        """Add a row whose `image` and `mask` are paths relative to `source`; both get `name` (blank: the image's).

        `caption` is what `captions/<name>.json` shall hold. Raises InputError when the name is taken.
        """
        name = name or row.name
        if name in self.names:
            raise InputError(f"{source}: two images are named {name!r}; rename one")
        self.names.add(name)
        old = Path(source) / row.image, Path(source) / row.mask
        new = f"images/{name}{old[0].suffix}", f"masks/{name}{old[1].suffix}"
        for source_file, target in zip(old, new, strict=True):
            if self.mode == "symlink" and not stays(self.folder, source_file):
                raise InputError(
                    f"{self.folder}: links would point too far, to {source_file}; use --mode hardlink or copy"
                )
            place(source_file, self.partial / target, self.mode, seen_from=(self.folder / target).parent)
        write_json(self.partial / f"captions/{name}.json", caption)
        self.rows.append(Row(*new, row.prompt, row.texts[1]))
        # Where the pictures can be read until `finish`: links do not lead anywhere before they have moved.
        self.sources.append(old if self.mode == "symlink" else (self.partial / new[0], self.partial / new[1]))

    def finish(self, stats: dict, rejected: Iterable[Sequence[object]] | None = None) -> None:
        """Write the list, the counts and the pictures, and replace the members of `folder` that are ours."""
        write_rows(self.partial / LIST, self.rows)
        write_json(self.partial / "stats.json", attribute_counts(self.rows) | stats)
        if rejected is not None:
            write_csv(self.partial / "rejected.csv", (*COLUMNS, "reason"), rejected)
        dataset_pictures.attributes(self.partial / "attributes.png", self.rows)
        dataset_pictures.samples(self.partial / "samples.png", self.rows, self.sources)
        # The list goes first and comes last: while it is absent, nobody takes the folder for a dataset.
        (self.folder / LIST).unlink(missing_ok=True)
        for name in MEMBERS:
            old, new = self.folder / name, self.partial / name
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
            if new.exists():
                os.replace(new, old)


def attribute_counts(rows: Sequence[Row]) -> dict:
    """Rows, and how many have each value of each attribute, and each caption."""
    seen = [lanes.parse_prompt(row.prompt) for row in rows]
    counts = {
        name: {value: sum(getattr(one, name) == value for one in seen) for value in allowed}
        for name, allowed in lanes.ALLOWED.items()
    }
    return {"rows": len(rows), "attributes": counts, "prompts": dict(sorted(Counter(r.prompt for r in rows).items()))}
