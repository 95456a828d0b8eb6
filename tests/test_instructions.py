"""The instructions sheet, its shorthand, and the folder names that come of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.errors import InputError
from relane.prompts import instructions, lanes
from relane.prompts.lanes import Attributes


def test_sheet_keeps_its_order_and_derives_blank_slugs(tmp_path: Path) -> None:
    sheet = tmp_path / "instructions.csv"
    sheet.write_text(
        "slug,instruction\n"
        ",lane double yellow solid\n"
        'Night Run,"Paint a single white line, dashed"\n'
        '\n,"Paint faded lane markings, worn by traffic"\n',
        encoding="utf-8-sig",
    )
    first, second, third = instructions.load(str(sheet))
    assert first.slug == "double-yellow-solid"
    assert first.attributes == Attributes("double", "yellow", "solid")
    assert first.text == lanes.instruction_of(first.attributes)
    assert first.text.endswith(
        "aligned exactly to the original lane positions and perspective; "
        "keep road texture, lighting, and shadows unchanged"
    )
    assert (second.slug, second.attributes) == ("night-run", Attributes("single", "white", "dashed"))
    assert (third.slug, third.attributes) == ("paint-faded-lane-markings-worn-by-traffic", None)


def test_a_string_a_multi_line_string_and_a_list_give_the_same() -> None:
    parts = ["lane single white solid", "double yellow one"]
    expected = instructions.load(parts)
    assert [item.slug for item in expected] == ["single-white-solid", "double-yellow-one"]
    assert instructions.load(" || ".join(parts)) == expected
    assert instructions.load("\n" + "\n\n".join(parts) + "\n") == expected


@given(st.sampled_from(lanes.COUNTS[:-1]), st.sampled_from(lanes.COLORS[:-1]), st.sampled_from(lanes.PATTERNS[:-1]))
def test_shorthand_and_its_own_full_sentence_make_the_same_instruction(count: str, color: str, pattern: str) -> None:
    short = instructions.make(f"lane {count} {color} {pattern}")
    assert instructions.make(short.text) == short


@given(st.text(max_size=200))
def test_any_text_gives_a_safe_folder_name_or_input_error(text: str) -> None:
    try:
        made = instructions.make(text)
    except InputError:
        return
    assert re.fullmatch(r"[a-z0-9-]{1,60}", made.slug)
    assert made.slug not in instructions.RESERVED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lane single blue solid", "unknown color 'blue' .* use one of white, yellow, mixed$"),
        ("lane triple white solid", "unknown count 'triple' .* use one of single, double$"),
        ("lane single white zigzag", "unknown pattern 'zigzag' .* use one of solid, dashed, mixed$"),
        ("lane single unknown solid", "unknown color 'unknown'"),
        ("lane single white", "too short"),
        ("make it snow", "asks for nothing paintable"),
        ("paint the car white", "asks for nothing paintable"),
        ("make the car red; keep road texture and lane positions unchanged", "number 1: 'make the car red"),
        ("lane single white solid||Change them to a single solid white line", "number 2: makes the same folder name"),
        (" || \n ", "the text is empty"),
        ("标线", "nothing paintable"),
    ],
)
def test_bad_text_has_its_own_message(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        instructions.load(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("slug,instruction\n", "no instructions"),
        ("slug,text\na,lane single white solid\n", "no column instruction"),
        ("instruction\nlane single white solid\n", "no column slug"),
        ("slug,instruction\nsham,lane single white solid\n", "line 2: slug 'sham' is reserved"),
        ("slug,instruction\nOriginal,lane single white solid\n", "reserved"),
        ("slug,instruction\n../up,lane single white solid\n", "no safe folder name"),
        ("slug,instruction\na,paint a line, dashed\n", "in double quotes"),
        ("slug,instruction\na,\n", "slug 'a' has no instruction"),
        ("slug,instruction\nx,lane single white solid\nX,lane double white solid\n", "line 3: makes the same folder"),
        ("slug,instruction\n,lane single pink solid\n", "line 2: unknown color 'pink'"),
        (b"slug,instruction\n\xff\xfe,\n", "cannot be read as a CSV table in UTF-8"),
    ],
)
def test_bad_sheet_has_its_own_message(tmp_path: Path, content: str | bytes, message: str) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as raised:
        instructions.load(sheet)
    assert str(sheet) in str(raised.value)


def test_missing_sheet_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        instructions.load(str(tmp_path / "none.csv"))


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys, relane.prompts.instructions\nprint([m for m in ('torch', 'numpy', 'pandas') if m in sys.modules])"
    )
    scripts = Path(instructions.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=scripts, check=True)
    assert done.stdout.strip() == "[]"
