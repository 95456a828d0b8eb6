"""The configuration's parts are in step, and a wrong key or value is named with the right one beside it."""

import argparse
import copy
import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from relane.config import arguments, files, reading, schema
from relane.config.option import Section, option
from relane.config.sections.sam2 import Sam2
from relane.errors import InputError

ROOT = Path(__file__).parents[1]


def defaults() -> dict:
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def script(name: str):
    """A script of ours as a module, without running it."""
    sys.path.insert(0, str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_defaults_are_valid_and_every_key_of_the_schema_has_one():
    config = defaults()
    reading.validate(config)
    for name, sub in schema.every_key():
        value = config
        for part in name.split("."):
            assert part in value, f"config.yaml lacks {name}"
            value = value[part]
        assert sub.get("description"), f"{name} is not explained"


@pytest.mark.parametrize("overlay", ["demo.yaml", "fast.yaml", "thesis.yaml"])
def test_the_overlays_are_valid(overlay):
    config = defaults()

    def lay(over: dict, under: dict) -> None:
        for key, value in over.items():
            if isinstance(value, dict) and isinstance(under.get(key), dict):
                lay(value, under[key])
            else:
                under[key] = value

    lay(yaml.safe_load((ROOT / "config" / overlay).read_text()), config)
    reading.validate(config)


def test_words_of_the_command_line_become_what_the_schema_asks_for():
    config = defaults()
    config["video"] |= {"stride": "8", "compile": "True", "guidance_scale": "1e1", "sampler": "dpm"}
    config["workers"]["enabled"] = "false"
    config["clip"]["t0_us"] = "7100000"
    reading.take_words(config)
    assert config["video"]["stride"] == 8
    assert config["video"]["compile"] is True
    assert config["video"]["guidance_scale"] == 10.0
    assert config["workers"]["enabled"] is False
    assert config["clip"]["t0_us"] == 7_100_000
    assert (config["video"]["sampler"], config["run"]) == ("dpm", "002")
    reading.validate(config)
    config["video"]["stride"] = "eight"
    reading.take_words(config)
    with pytest.raises(InputError, match=r"video\.stride: 'eight' should be a valid integer"):
        reading.validate(config)


def test_lists_of_the_command_line_become_numbers_too():
    """Snakemake hands on what stands inside brackets as words: --config 'clip={t0_us: [5100000, 7100000]}'."""
    config = defaults()
    config["clip"]["t0_us"] = ["5100000", "7100000"]
    config["sam2"]["points"] = [["0.5", "0.85"]]
    config["dataset"]["frames"] = ["1", "30"]
    config["datasets"] = {"first": {"start": "0", "limit": "10"}}
    config["drive"]["cameras"] = "7"
    config["sam2"]["vos_optimized"] = "auto"
    config["arms"]["sham"] = "no"
    config["effects"]["action_unchanged"] = ["1"]
    reading.take_words(config)
    reading.validate(config)
    assert config["clip"]["t0_us"] == [5_100_000, 7_100_000]
    assert config["sam2"]["points"] == [[0.5, 0.85]]
    assert config["dataset"]["frames"] == [1, 30]
    assert config["datasets"]["first"] == {"start": 0, "limit": 10}
    assert (config["drive"]["cameras"], config["arms"]["sham"]) == (7, False)
    assert config["effects"]["action_unchanged"] == ["1"]  # a name that looks like a number stays a name


@pytest.mark.parametrize(
    ("argument", "read", "run"),
    [
        ('run="003"', 3, "003"),
        ("run=003", 3, "003"),
        ("run='3'", 3, "3"),
        ("run=1e3", 1000.0, "1e3"),
        ("run=true", True, "true"),
        ("run=day_2", "day_2", "day_2"),
    ],
)
def test_a_name_of_digits_on_the_command_line_stays_as_it_was_written(argument, read, run):
    """Snakemake strips the quotes and reads a number, so the zeros are in the argument only."""
    config = {**defaults(), "run": read}
    reading.take_words(config, given=reading.words_given(["clips=a.csv", argument]))
    reading.validate(config)
    assert config["run"] == run


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True))
def test_any_run_that_the_command_line_names_is_that_run(name):
    from snakemake.cli import parse_config

    for argument in (f"run={name}", f'run="{name}"'):
        config = defaults() | parse_config([argument])
        reading.take_words(config, given=reading.words_given([argument]))
        assert config["run"] == name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_named(value):
    config = defaults()
    config["video"]["guidance_scale"] = value
    with pytest.raises(InputError, match=r"video\.guidance_scale: (nan|inf) should be a finite number"):
        reading.validate(config)


def test_a_dropped_key_says_what_became_of_it():
    config = defaults()
    config["sam2"]["max_frames"] = 150
    with pytest.raises(InputError, match=r"no key sam2\.max_frames any more: a clip has one length, clip\.max_frames"):
        reading.validate(config)


# Which keys of a section a script does not take, because the rule gives them to others or they only shape the plan.
SECTIONS = [
    ("clip", "prepare_clip", set()),
    ("workers", "on_gpu", set()),
    ("sam2", "segment_road", set()),
    ("sam2", "dataset_frames", {"vos_optimized"}),
    ("region", "select_region", set()),
    ("region", "train_lora", set()),
    ("first_frame", "first_frame", set()),
    ("video", "edit_video", set()),
    ("drive", "drive", {"enabled", "together", "videos", "video_name", "videos_start_us"}),
    ("effects", "effects", set()),
    ("dataset", "caption_frames", {"frames"}),
    ("lora", "train_lora", set()),
    ("quality", "evaluate_edit", set()),
]


@pytest.mark.parametrize(("section", "name", "not_flags"), SECTIONS)
def test_every_key_of_a_section_is_a_flag_of_its_script_with_the_same_default(section, name, not_flags):
    flags = {action.dest: action.default for action in script(name).parser()._actions}
    expected = {key: value for key, value in defaults()[section].items() if key not in not_flags}
    if "record_failures" in expected:
        expected["record_failures"] = False  # by hand a failure is a failure; rules hand over the configuration
    assert {key: flags.get(key) for key in expected} == expected


def test_a_flag_takes_what_the_configuration_takes_and_says_so():
    parser = argparse.ArgumentParser()
    arguments.add_options(parser, Sam2, leave_out=("dtype",))
    args = parser.parse_args(["--points", "[[0.5, 1]]", "--vos-optimized", "true", "--bonnet=.25", "--dilate", "3"])
    assert (args.points, args.vos_optimized, args.bonnet, args.dilate) == ([[0.5, 1]], True, 0.25, 3)
    assert not hasattr(args, "dtype")
    said = " ".join(parser.format_help().split())
    assert "--vos-optimized {auto,true,false}" in said
    assert "Grow the road mask by a square of this side; 0: not (default: 0 px)" in said


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--bonnet=1", r"sam2\.bonnet: 1 should be less than 1"),
        ("--bonnet=nan", r"sam2\.bonnet: nan should be a finite number"),
        ("--dilate=3.5", r"sam2\.dilate: 3\.5 should be a valid integer"),
        ("--dtype=half", r"sam2\.dtype: 'half' should be 'float32' or 'bfloat16'"),
        ("--points=[[0.5, 2]]", r"sam2\.points\.0\.1: 2 should be less than or equal to 1"),
        ("--points=middle", r"sam2\.points: expected a JSON list, got 'middle'"),
    ],
)
def test_a_wrong_flag_is_named_as_in_the_configuration(word, said):
    parser = argparse.ArgumentParser()
    arguments.add_options(parser, Sam2)
    with pytest.raises(InputError, match=said):
        parser.parse_args([word])


def test_the_files_that_are_written_from_the_declarations_are_up_to_date():
    """After a change of an option: python scripts/config_files.py."""
    for path, text in files.render().items():
        assert path.read_text() == text, f"{path.name} is not what config_files.py writes"


@pytest.mark.parametrize("change", [{}, {"clip": {"fps": 0}}, {"video": {"mode": "mine"}}, {"clip": {"t0_us": [5, 5]}}])
def test_the_schema_for_editors_refuses_what_is_refused(change):
    """config/schema.yaml is what an editor checks a user's file with: it must not say otherwise than the planning."""
    import jsonschema

    written = yaml.safe_load((ROOT / "config" / "schema.yaml").read_text())
    config = defaults()
    for section, values in change.items():
        config[section] |= values
    if not change:
        jsonschema.validate(config, written)
        return
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(config, written)
    with pytest.raises(InputError):
        reading.validate(config)


def test_the_page_maps_every_environment_variable_of_the_thesis_to_a_key_that_exists():
    names = {name for name, _ in schema.every_key()}
    head = (ROOT / "config" / "README.head.md").read_text()
    for variable, target in re.findall(r"^\| (`[A-Z0-9_]+`.*?) \| (.*?) \|$", head, flags=re.M):
        for key in re.findall(r"`([a-z0-9_]+\.[a-z0-9_.]+)`", target):
            assert key in names, f"{variable}: {key} is no key"


@pytest.mark.parametrize(
    "variable", ["RUN_ID", "DATA_RUN_ID", "VP_RUN_SUFFIX", "SKIP_BUILD", "*_OUTPUT_BASE", "*_CONTAINER_IMAGE"]
)
def test_the_page_says_what_replaces_a_variable_that_has_no_key(variable):
    head = (ROOT / "config" / "README.head.md").read_text()
    [row] = [line for line in head.splitlines() if line.startswith("|") and f"`{variable}`" in line.split("|")[1]]
    assert row.split("|")[2].strip()


def test_the_sheet_that_ships_names_a_commit_and_no_branch():
    """What a branch points to moves: the same sheet would be other data another day."""
    from relane.data.sheet import read_sheet

    for clip in read_sheet(ROOT / "config" / "clips.csv"):
        assert re.fullmatch(r"hf://[\w.-]+/[\w.-]+@[0-9a-f]{40}", clip.pai_root)


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("video", "guidence_scale", 6.0, "unknown key 'guidence_scale' in video; did you mean 'guidance_scale'"),
        ("video", "caption_refine_iters", 3, "belongs at 'first_frame.caption_refine_iters'"),
        ("video", "num_inference_steps", "many", "video.num_inference_steps: 'many' should be a valid integer"),
        ("clip", "anchor", "end", "clip.anchor: 'end' should be 'start' or 't0'"),
        ("sam2", "points", [[0.5, 1.2]], r"sam2.points.0.1: 1.2 should be less than or equal to 1"),
    ],
)
def test_a_wrong_key_or_value_is_named(section, key, value, words):
    config = copy.deepcopy(defaults())
    config[section][key] = value
    with pytest.raises(InputError, match=re.escape(words) if "did you" in words else words):
        reading.validate(config)


def test_a_run_that_yaml_read_as_a_number_is_explained():
    with pytest.raises(InputError, match='quote it: run: "003"'):
        reading.validate({**defaults(), "run": 3})


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(st.dictionaries(st.from_regex(r"[a-z]{2,8}", fullmatch=True), st.one_of(text, st.booleans(), st.integers())))
def test_flags_survive_the_shell(section):
    words = shlex.split(arguments.flags(section))
    expected = [f"--{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in section.items()]
    assert sorted(words) == sorted(expected)


def test_a_sections_messages_name_its_key():
    for name, field in schema.Config.model_fields.items():
        key = getattr(field.annotation, "KEY", "")
        assert key in ("", name), f"{field.annotation} says {key}, but stands under {name}"


class Inner(Section, key="editor.mine"):
    """Options of one backend."""

    stride: int = option(40, "Frames from window to window.", ge=1)
    tiles: bool = option(False, "Less memory.", rerun=False)


class Editor(Section, key="editor"):
    """A section with a backend's options under its name."""

    backend: str = option("mine", "Which one.")
    mine: Inner = schema.section(Inner)


def test_options_of_a_backend_may_stand_under_its_name():
    config = {"backend": "mine", "mine": {"stride": "8", "tiles": "yes"}}
    arguments.coerced(config, schema.json_schema(Editor))
    assert config == {"backend": "mine", "mine": {"stride": 8, "tiles": True}}
    assert reading.identity(config, schema.json_schema(Editor)) == {"backend": "mine", "mine": {"stride": 8}}
    with pytest.raises(InputError, match=r"editor\.mine\.stride: 0 should be greater than or equal to 1"):
        Editor.of({"mine": {"stride": 0}})
    parser = argparse.ArgumentParser()
    arguments.add_options(parser, Editor)
    arguments.add_options(parser, Inner)
    assert vars(parser.parse_args(["--stride=8"])) == {"backend": "mine", "stride": 8, "tiles": False}
