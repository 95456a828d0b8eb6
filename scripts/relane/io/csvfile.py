"""CSV tables: read with errors that name file and line, written whole."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from relane.errors import InputError
from relane.io.files import write_text


@dataclass(frozen=True)
class Line:
    """One row of a table: its line in the file, and its cells by column, without blanks around them."""

    number: int
    cells: dict[str, str]


def read_csv(
    path: str | Path, columns: Sequence[str] = (), advice: str = "make it again", *, whole: bool = False
) -> list[Line]:
    """The rows of a UTF-8 table with a header. Blank lines are left out; a row may leave its last cells out, if not
    `whole`.

    Raises InputError, naming file and line, where there is no such file, it is no CSV, `columns` are missing in its
    header, or a row has more cells than the header; `advice` ends the sentence on a file that is not there or lacks a
    column.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {advice}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a CSV table in UTF-8 ({error})") from None
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [column for column in columns if column not in header]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; {advice}")
        lines = []
        for row in filter(None, reader):
            if whole and len(row) < len(header):
                raise InputError(f"{path} line {reader.line_num}: fewer cells than columns; fill it up with commas")
            lines.append(Line(reader.line_num, _cells(header, row, path, reader.line_num)))
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num}: not valid CSV ({error})") from None
    return lines


def _cells(header: list[str], row: list[str], path: Path, line: int) -> dict[str, str]:
    if len(row) > len(header):
        raise InputError(f"{path} line {line}: more cells than columns; put a text with commas in double quotes")
    filled = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
    return dict(zip(header, filled, strict=True))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object] | Sequence[object]]) -> str:
    """A table as text with plain line ends; of a mapping, cells that it lacks or that are None are empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([row.get(name) for name in columns] if isinstance(row, Mapping) else row)
    return buffer.getvalue()


def write_csv(
    path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, object] | Sequence[object]]
) -> None:
    """Write `csv_text` atomically."""
    write_text(path, csv_text(columns, rows))
