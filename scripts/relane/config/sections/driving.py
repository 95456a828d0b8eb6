"""Options of section `drive` that the driving model takes (scripts/drive.py)."""

from typing import Literal

from relane.config.option import Above0, Count, Dtype, Positive, Section, ShareAbove0, Tokens, option


class Driving(Section, key="drive"):
    """How an arm is driven: the flags of scripts/drive.py."""

    cameras: Literal[4, 7] = option(4, "Cameras the model sees; 7 is outside the model's training.")
    num_traj_samples: Positive = option(6, "K, paths sampled in one batched call.")
    top_p: ShareAbove0 = option(0.98, "Nucleus of the reasoning's sampling.")
    temperature: Above0 = option(0.6, "Temperature of the reasoning's sampling; 0.001 is as good as greedy.")
    max_generation_length: Tokens = option(256, "Longest reasoning, in tokens.")
    diffusion_steps: Count = option(0, "Euler steps of the flow; 0: as the checkpoint says.")
    allow_late_frames: bool = option(
        False,
        "Take frames that are further from their instant than a frame period (with `clip.frame_choice: nearest` half "
        "of one).",
    )
    allow_repeated_frames: bool = option(
        False,
        "Drive clips of fewer than 10 frames a second, as the original study did at 8: one frame may then serve two of "
        "the model's four slots, or stand off its clock. The result says so (`frame_notes`), and the overlay. `false`: "
        "such a clip is refused.",
    )
    save_frames: Literal["edited", "all"] = option(
        "edited",
        "Cameras whose frames go into `_vis_data.npz` as `image_frames`: the first edited one, or all that the model "
        "was shown, scaled to that one's size.",
    )
    record_failures: bool = option(
        True,
        "Whether a clip that cannot be driven (no ego motion around the instant, an edit that does not reach it) is "
        "named in the report and left out; `false`: its job fails.",
    )
    seed: int = option(42, "Part of the key of every draw, with clip, instant, sample and step.")
    dtype: Dtype = option("bfloat16", "Arithmetic of the model.")
