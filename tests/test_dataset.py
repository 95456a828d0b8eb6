"""Datasets: from a video's frames to a train.csv that every later stage can trust."""

import csv
import json
import os
from contextlib import suppress
from pathlib import Path

import assemble_dataset
import caption_frames
import dataset_frames
import filter_dataset
import numpy as np
import pytest
import take_frames
from hypothesis import given
from hypothesis import strategies as st

from relane.errors import InputError
from relane.io.video import write_video
from relane.prompts.lanes import Attributes
from relane.training import dataset, dataset_writer
from relane.training.dataset import Row

HEIGHT, WIDTH = 48, 64


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def road_mask(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.arange(height)[:, None].repeat(width, 1) > height // 2


def make_dataset(folder, prompts):
    rows = []
    for number, prompt in enumerate(prompts):
        rows.append(Row(f"images/f{number}.png", f"masks/f{number}.png", prompt, prompt))
        dataset.write_picture(folder / rows[-1].image, picture(number))
        dataset.write_picture(folder / rows[-1].mask, road_mask())
    dataset.write_rows(folder / "train.csv", rows)
    return folder


WHITE, YELLOW = Attributes("single", "white", "solid"), Attributes("double", "yellow", "dashed")
UNCLEAR = Attributes("single", "white", "unknown")
PROMPTS = [one.prompt() for one in (WHITE, YELLOW, UNCLEAR, WHITE)]


# The list

texts = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=30).map(str.strip)


@given(
    st.lists(
        st.builds(Row, image=st.just("images/a.png"), mask=st.just("masks/a.png"), prompt=texts, prompt_2=texts),
        min_size=1,
    )
)
def test_rows_come_back_from_the_list_as_they_were_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    dataset.write_rows(folder / "train.csv", rows)
    assert dataset.read_rows(folder) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,mask,caption\na,b,c\n", "the header is 'image,mask,caption'"),
        ("", "the header is ''"),
        ("image,mask,prompt,prompt_2\n", "no rows"),
        ("image,mask,prompt,prompt_2\na.png,b.png,c\n", "line 2: 3 cells"),
        ("image,mask,prompt,prompt_2\na.png,b.png,c,d\na.png,b.png,c,d, e\n", "line 3: 5 cells"),
        ("image,mask,prompt,prompt_2\n,b.png,c,d\n", "line 2: image is blank"),
        ("image,mask,prompt,prompt_2\n/etc/passwd,b.png,c,d\n", "line 2: image '/etc/passwd' points outside"),
        ("image,mask,prompt,prompt_2\na.png,../b.png,c,d\n", "line 2: mask '../b.png' points outside"),
        ('image,mask,prompt,prompt_2\n"a.png,b.png,c,d\n', "not valid CSV"),
    ],
)
def test_a_wrong_list_is_refused_by_line(tmp_path, text, message):
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        dataset.read_rows(tmp_path)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        dataset.read_rows(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = make_dataset(tmp_path / "d", PROMPTS[:1])
    (folder / "images/f0.png").unlink()
    (folder / "images/f0.png").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="points outside"):
        dataset.read_rows(folder)


def break_image(folder):
    (folder / "images/f1.png").write_bytes(b"\x89PNG no more")


def remove_mask(folder):
    (folder / "masks/f1.png").unlink()


def empty_mask(folder):
    dataset.write_picture(folder / "masks/f1.png", np.zeros((HEIGHT, WIDTH), bool))


def resize_mask(folder):
    dataset.write_picture(folder / "masks/f1.png", road_mask(HEIGHT, WIDTH + 2))


def spoil_prompt(folder):
    text = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(text.replace(PROMPTS[1], "a nice road"))


FAULTS = [
    (break_image, "images/f1.png: not a readable picture"),
    (remove_mask, "masks/f1.png: no such file"),
    (empty_mask, "masks/f1.png: the mask is empty"),
    (resize_mask, "the mask is 66x48 but its image is 64x48"),
    (spoil_prompt, "'a nice road' is no caption"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_an_unsound_row_is_refused_by_line_and_filtered_out_with_its_reason(tmp_path, spoil, message):
    folder = make_dataset(tmp_path / "roads", PROMPTS)
    dataset.check_rows(folder, dataset.read_rows(folder))
    spoil(folder)
    with pytest.raises(InputError, match="train.csv line 3: .*" + message):
        dataset.check_rows(folder, dataset.read_rows(folder))
    filter_dataset.main(["--dataset", str(folder), "--suffix", "any_any_any"])
    made = tmp_path / "roads__any_any_any"
    assert [row.name for row in dataset.read_rows(made)] == ["f0", "f2", "f3"]
    (rejected,) = csv.DictReader((made / "rejected.csv").read_text().splitlines())
    assert rejected["image"] == "images/f1.png"
    assert message in rejected["reason"]


# Filtering


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("mode", ["copy", "hardlink", "symlink"])
def test_a_filtered_dataset_is_a_whole_dataset_of_the_wanted_rows(tmp_path, mode):
    folder = make_dataset(tmp_path / "roads", PROMPTS)
    filter_dataset.main(["--dataset", str(folder), "--suffix", "single_white_solid_clearroad", "--mode", mode])
    made = tmp_path / "roads__single_white_solid_clearroad"
    assert [row.prompt for row in dataset.read_rows(made)] == [PROMPTS[0], PROMPTS[3]]
    assert {p.name for p in made.iterdir()} == set(dataset_writer.MEMBERS)
    for name in ("f0", "f3"):
        assert (made / f"images/{name}.png").read_bytes() == (folder / f"images/{name}.png").read_bytes()
        assert (made / f"images/{name}.png").is_symlink() == (mode == "symlink")
        same = (made / f"masks/{name}.png").stat().st_ino == (folder / f"masks/{name}.png").stat().st_ino
        assert same == (mode != "copy")
    assert json.loads((made / "captions/f0.json").read_text())["color"] == "white"
    stats = json.loads((made / "stats.json").read_text())
    assert (stats["rows"], stats["rejected"], stats["attributes"]["color"]["white"]) == (2, 2, 2)


def test_links_that_would_leave_the_datasets_folder_are_refused(tmp_path):
    folder = make_dataset(tmp_path / "here/roads", PROMPTS)
    flags = ["--dataset", str(folder), "--mode", "symlink", "--output", str(tmp_path / "there/roads")]
    with pytest.raises(InputError, match="too far"):
        filter_dataset.main(flags)
    assert not (tmp_path / "there/roads/train.csv").exists()


def test_filtering_twice_gives_the_same_bytes_and_flags_equal_the_suffix(tmp_path):
    folder = make_dataset(tmp_path / "roads", PROMPTS)
    suffix = "single_any_solid-unknown_byprompt_limit2"
    filter_dataset.main(["--dataset", str(folder), "--suffix", suffix])
    first = contents(tmp_path / f"roads__{suffix}")
    flags = ["--count", "single", "--pattern", "unknown,solid", "--sort", "prompt", "--limit", "2"]
    filter_dataset.main(["--dataset", str(folder), *flags])
    assert contents(tmp_path / f"roads__{suffix}") == first
    assert [row.name for row in dataset.read_rows(tmp_path / f"roads__{suffix}")] == ["f0", "f3"]
    reasons = [row["reason"] for row in csv.DictReader(first["rejected.csv"].decode().splitlines())]
    assert sorted(reasons) == ["count is not single (double)", "over the limit (2)"]


def test_an_empty_result_says_what_each_condition_removed_and_keeps_the_old_folder(tmp_path):
    folder = make_dataset(tmp_path / "roads", PROMPTS)
    made = make_dataset(tmp_path / "roads__double_white_any", PROMPTS[:1])
    before = contents(made)
    with pytest.raises(InputError, match=r"none of 4 rows .*count is not double: 3; color is not white: 1"):
        filter_dataset.main(["--dataset", str(folder), "--suffix", "double_white_any"])
    assert contents(made) == before


def test_a_filter_that_is_given_twice_or_into_itself_is_refused(tmp_path):
    folder = make_dataset(tmp_path / "roads", PROMPTS)
    with pytest.raises(InputError, match="not both"):
        filter_dataset.main(["--dataset", str(folder), "--suffix", "any_any_any", "--limit", "3"])
    with pytest.raises(InputError, match="into itself"):
        filter_dataset.main(["--dataset", str(folder), "--suffix", "any_any_any", "--output", str(folder)])


# From video to dataset


class PaintsRoad:
    """Stands where RoadSegmenter does: the lower half is road, or nothing where the picture is dark."""

    def image(self, frame, points, negative_points, cleaning):
        return road_mask(*frame.shape[:2]) & (frame.mean() > 40)


class Talks:
    """Stands where Qwen does: answers by the picture's mean brightness, nonsense for the brightest."""

    def ask(self, questions, *, max_new_tokens, temperature, keys):
        return [self.answer(images[0].mean()) for images, _ in questions]

    def answer(self, mean):
        if mean > 150:
            return "I cannot say."
        return json.dumps(vars(WHITE if mean < 100 else YELLOW))


def take(video, numbers, output, clip_id="one", *more):
    """The folder of one video's frames, as take_frames.py makes it."""
    flags = f"--uri {video} --clip-id {clip_id} --camera front --frames {' '.join(map(str, numbers))} --output {output}"
    take_frames.main([*flags.split(), "--record-failures", "false", *more])
    return output


def item_args(taken, numbers, output, *more):
    flags = f"--frames {taken} --numbers {' '.join(map(str, numbers))} --checkpoint none --output {output}"
    return dataset_frames.parser().parse_args([*flags.split(), *more])


def levels(*values):
    return [np.full((HEIGHT, WIDTH, 3), value, np.uint8) for value in values]


def make_items(folder, video, clip_id, frames=(1, 2, 3, 4, 5)):
    taken = take(video, frames, folder / f"frames/{clip_id}.front", clip_id)
    dataset_frames.run(item_args(taken, frames, folder / "items"), PaintsRoad())
    items = [folder / f"items/{clip_id}.front_frame{number}" for number in frames]
    output = folder / f"captioned/{clip_id}.json"
    args = caption_frames.parser().parse_args(["--items", *map(str, items), "--qwen", "none", "--output", str(output)])
    caption_frames.run(args, Talks())
    return items, output


def assemble(folder, parts):
    items = [str(item) for part in parts for item in part[0]]
    captions = [str(part[1]) for part in parts]
    assemble_dataset.main(["--items", *items, "--captions", *captions, "--output", str(folder)])


@pytest.mark.parametrize("at", range(10))
def test_a_cut_off_dataset_is_the_old_one_or_none(tmp_path, monkeypatch, at):
    """The list must not stand beside pictures of another making, wherever the writing ends."""
    folder = tmp_path / "roads"
    for level in (80, 120):
        write_video(tmp_path / f"{level}.mp4", levels(level, level + 5), 10)
    assemble(folder, [make_items(folder, tmp_path / "80.mp4", "old", (1, 2))])
    part = make_items(folder, tmp_path / "120.mp4", "new", (1, 2))
    replace, moved = os.replace, 0

    def cut_off(source, target):
        nonlocal moved
        if Path(source).parent.name.startswith(".partial."):
            moved += 1
            if moved > at:
                raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(dataset.os, "replace", cut_off)
    with suppress(KeyboardInterrupt):
        assemble(folder, [part])
    if (folder / "train.csv").exists():
        rows = dataset.read_rows(folder)
        dataset.check_rows(folder, rows)
        assert {path.stem for path in (folder / "images").iterdir()} == {row.name for row in rows}
        assert json.loads((folder / "stats.json").read_text())["rows"] == len(rows)


def test_a_dataset_counts_what_it_dropped_by_reason_and_chunk(tmp_path):
    video = tmp_path / "chunk_0003/a.mp4"
    write_video(video, levels(80, 20, 120, 200), 10)  # white, too dark for a road, yellow, unreadable reply
    folder = tmp_path / "roads"
    assemble(folder, [make_items(folder, video, "one")])
    rows = dataset.read_rows(folder)
    dataset.check_rows(folder, rows)
    assert [row.prompt for row in rows] == [WHITE.prompt(), YELLOW.prompt(), Attributes().prompt()]
    assert [row.name for row in rows] == [f"one.front_frame{number}" for number in (1, 3, 4)]
    stats = json.loads((folder / "stats.json").read_text())
    expected = {"videos": 1, "kept": 3, "dropped": {"coverage": 1, "past_end": 1}}
    assert stats["chunks"] == {"chunk_0003": expected}
    caption = json.loads((folder / "captions/one.front_frame4.json").read_text())
    assert (caption["reply"], caption["asked"], caption["frame"]) == ("I cannot say.", 2, 4)


def test_a_video_given_again_in_another_container_is_dropped_as_a_duplicate(tmp_path):
    write_video(tmp_path / "chunk_0001/a.mp4", levels(60, 80, 120), 10)
    (tmp_path / "chunk_0002").mkdir()
    # Other bytes, the same pictures: the index at the end, and a trailing box that players skip.
    data = (tmp_path / "chunk_0001/a.mp4").read_bytes()
    (tmp_path / "chunk_0002/b.mp4").write_bytes(data + b"\x00\x00\x00\x08free")
    write_video(tmp_path / "chunk_0002/c.mp4", levels(60, 80, 121), 10)
    folder = tmp_path / "roads"
    parts = [
        make_items(folder, tmp_path / path, name, (1, 3))
        for path, name in (("chunk_0001/a.mp4", "a"), ("chunk_0002/b.mp4", "b"), ("chunk_0002/c.mp4", "c"))
    ]
    assemble(folder, parts)
    assert {row.name.split(".")[0] for row in dataset.read_rows(folder)} == {"a", "c"}
    stats = json.loads((folder / "stats.json").read_text())
    assert stats["duplicate_videos"] == {"b.front": "a.front"}
    assert stats["chunks"]["chunk_0002"] == {"videos": 2, "kept": 2, "dropped": {"duplicate_video": 2}}


def test_assembling_again_gives_the_same_bytes_and_leaves_the_frames_alone(tmp_path):
    write_video(tmp_path / "a.mp4", levels(60, 80, 120), 10)
    folder = tmp_path / "roads"
    parts = [make_items(folder, tmp_path / "a.mp4", "a", (1, 2))]
    assemble(folder, parts)
    before = contents(folder)
    assert "items/a.front_frame1/record.json" in before
    assemble(folder, parts)
    assert contents(folder) == before


def test_a_dataset_without_a_kept_frame_says_why(tmp_path):
    write_video(tmp_path / "a.mp4", levels(5, 5), 10)
    folder = tmp_path / "roads"
    part = make_items(folder, tmp_path / "a.mp4", "a", (1, 9))
    with pytest.raises(InputError, match=r"no frame was kept of 2; dropped: {'coverage': 1, 'past_end': 1}"):
        assemble(folder, [part])
    assert not (folder / "train.csv").exists()


def test_a_kept_frame_without_a_caption_is_refused(tmp_path):
    write_video(tmp_path / "a.mp4", levels(80, 80), 10)
    items, captions = make_items(tmp_path, tmp_path / "a.mp4", "a", (1,))
    captions.write_text('{"captions": {}}')
    with pytest.raises(InputError, match="none of --captions has a caption"):
        assemble(tmp_path / "roads", [(items, captions)])


def test_the_real_models_make_an_item_and_no_caption_that_says_nothing(tmp_path, tiny):
    write_video(tmp_path / "a.mp4", [picture(1, 96, 128)] * 2, 10)
    taken = take(tmp_path / "a.mp4", (2,), tmp_path / "frames", "a")
    flags = f"--frames {taken} --numbers 2 --device cpu --min-coverage 0 --checkpoint {tiny('sam2')}"
    dataset_frames.main([*flags.split(), "--output", str(tmp_path / "items")])
    item = tmp_path / "items/a.front_frame2"
    assert (item / "mask.png").is_file()
    flags = f"--items {item} --qwen {tiny('qwen')} --device cpu --dtype float32 --caption-max-tokens 4"
    # A random model never answers in JSON: a captioner that nobody can read makes no dataset.
    with pytest.raises(InputError, match=r"qwen: none of its replies about 1 frames could be read"):
        caption_frames.main([*flags.split(), "--output", str(tmp_path / "captions.json")])
    assert not (tmp_path / "captions.json").exists()
