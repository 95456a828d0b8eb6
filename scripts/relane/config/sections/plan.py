"""Sections that shape the plan; no script takes their options, but for those of the classes that they inherit."""

from typing import Annotated, Literal

from pydantic import Field

from relane.config.option import Count, Distinct, Section, option
from relane.config.sections.captioning import Captioning
from relane.config.sections.driving import Driving
from relane.errors import InputError


class Checkpoints(Section):
    """Folders of model weights. Nothing is fetched on its own; `scripts/fetch_checkpoints.py` downloads them. What they
    hold is a reason to run again, where they lie is none."""

    sam2: str = option(
        "checkpoints/sam2.1_hiera_large",
        "SAM2 weights (`*.pt` or `model.safetensors`, with `config.yaml` unless the packaged config is meant).",
    )
    flux_fill: str = option("checkpoints/FLUX.1-Fill-dev", "A FluxFillPipeline folder.")
    qwen: str = option("checkpoints/Qwen2.5-VL-7B-Instruct", "Any Qwen2.5-VL folder; 7B or 72B.")
    cogvideox: str = option(
        "checkpoints/CogVideoX-5b-I2V", "A CogVideoX image-to-video pipeline folder (CogVideoX-5b-I2V)."
    )
    videopainter: str = option("checkpoints/VideoPainter/checkpoints/branch", "VideoPainter's branch folder.")
    videopainter_id: str = option("", "VideoPainterID LoRA folder; empty: not used.")
    clip_score: str = option(
        "checkpoints/clip-vit-large-patch14",
        "CLIP folder for the CLIP score (the original uses ViT-L/14); empty or not there: the metric is reported as "
        "absent, and its jobs run again once the weights are there.",
    )
    clip_temporal: str = option(
        "checkpoints/clip-vit-base-patch32",
        "CLIP folder for temporal consistency (the original uses ViT-B/32); empty or not there: absent.",
    )
    lpips: str = option(
        "checkpoints/lpips",
        "Folder with the backbone weights of LPIPS (squeezenet1_1, alexnet or vgg16); empty or not there: absent.",
    )
    alpamayo: str = option("checkpoints/Alpamayo-R1-10B", "An Alpamayo-R1 checkpoint folder.")


class Devices(Section):
    """Where each model runs: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`. Never triggers a rerun."""

    sam2: str = option("auto", "Device of SAM2.")
    painter: str = option("auto", "Device of FLUX Fill.")
    critic: str = option(
        "auto",
        "Device of Qwen2.5-VL; `auto`: a second GPU where the job sees one, else the painter's, where the two take "
        "turns; `all`: spread over every GPU.",
    )
    editor: str = option("auto", "Device of CogVideoX with VideoPainter.")
    quality: str = option("auto", "Device of the metrics' networks.")
    driver: str = option("auto", "Device of the driving model.")


class Arms(Section):
    """The controls. `original` always runs; without the other two an effect means little."""

    sham: bool = option(
        True, "An edit that asks for the markings that the clip already has: what the editor itself does to the driver."
    )
    floor: bool = option(True, "The original once more with other noise: what the driver does by itself.")


class Report(Section):
    """The page (`scripts/report.py`)."""

    clips: Count = option(
        50,
        "Clips shown with their videos, spread evenly over the sheet; 0: all. The effects count every clip. Overlays "
        "of the others are drawn by the target `drive`, or by name.",
    )


class DrivePlan(Section, key="drive"):
    """What is driven. It shapes the plan, and scripts/drive.py is told the outcome."""

    enabled: bool = option(True, "Whether to drive at all.")
    together: bool = option(
        False,
        "Drive all arms of a clip in one batch, which takes hardly longer than one arm. On an H200, 6 paths an arm: "
        "3.7 s for two, 3.9 s for one; 2.8 GiB more for each further arm. One job then makes all of the clip's "
        "rollouts: naming one builds all, and a changed arm drives all again. Not with `reasoning: shared`; videos "
        "edited elsewhere are driven by themselves.",
    )
    reasoning: Literal["free", "shared", "both"] = option(
        "free",
        "`free`: each arm thinks for itself; `shared`: every arm is fed the original arm's words, which leaves what "
        "goes through vision; `both`: each arm is driven both ways, and effects are split into what goes through "
        "vision and what through words.",
    )
    videos: str = option(
        "",
        "Videos that were edited elsewhere: a folder or bucket prefix with files "
        "`<clip_id>.<camera>_vp_edit_sample0.mp4`, or a sheet of them (`scripts/find_videos.py`). Each folder becomes "
        "an arm. With `instructions` empty and `arms.sham` false nothing is edited here, and the target `drive` needs "
        "no editor. Empty: none.",
    )
    video_name: str = option(
        "auto", "One of those videos, by its stem (in every arm that has it); `auto`: all.", min_length=1
    )
    videos_start_us: int = option(
        0,
        "Time of their first frame on the source's clock, where no JSON beside the video has `t_us`.",
        unit="\u00b5s",
        ge=0,
    )

    def check(self) -> None:
        """The plan must be one that can be carried out."""
        if self.together and self.reasoning == "shared":
            raise InputError(
                "drive.together: with drive.reasoning shared the other arms wait for the original's words; "
                "set drive.together to false, or drive.reasoning to free or both"
            )
        if self.video_name != "auto" and not self.videos:
            raise InputError(
                f"drive.video_name {self.video_name!r} chooses one of drive.videos, which is empty; "
                "name their folder there, or set video_name to auto"
            )


class Drive(Driving, DrivePlan):
    """The driving model (`scripts/drive.py`)."""


class Dataset(Captioning):
    """How frames become dataset rows (`scripts/take_frames.py`, `scripts/dataset_frames.py`,
    `scripts/caption_frames.py`)."""

    frames: Annotated[list[Annotated[int, Field(ge=1)]], Distinct(), Field(min_length=1)] = option(
        [1, 100, 200, 300, 400, 500], "Numbers of the frames, from 1; one past a video's end is skipped and counted."
    )


class Slice(Section):
    """A dataset: the slice of the clip sheet that it takes."""

    start: Count = option(..., "First video of the clip sheet to take, from 0.")
    limit: Count = option(..., "Videos to take at most; 0: all.")


class Trained(Section):
    """A LoRA: what it is trained on."""

    dataset: str = option(..., "A dataset, plain or filtered: `lanes`, `lanes__single_white_solid_clearroad`.")
