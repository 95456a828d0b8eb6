"""Run every case of a folder of VideoPainter reference outputs through our classes and compare.

    python tests/golden/check_videopainter.py <folder>

The folder has the layout of the golden vectors: configs.json, report.json, transformer, branch and vae weights,
inputs, modules.safetensors, case_<name>.safetensors and lora/. A folder may hold a part of the arrays: what is there
is compared. A line a case: the largest difference of each stage, the largest share of what rounding explains (1 is
all of it), and pass or fail; exit status 1 when any fails. Cases that the original cannot run are listed as such.

Kernels of another machine, or of this one with other threads, add in another order, so frozen numbers agree within
rounding and not to the bit. What rounding explains:

- float32: 1e-5 of the tensor's largest value. Other kernels give 1e-7 to 5e-6; a wrong formula more than 1e-4.
- bfloat16 (read from the folder's tensors): a result may be as far from what float32 makes of the same weights and
  inputs as our own bfloat16 result is. That distance is rounding alone, tensor by tensor, also where guidance makes it
  large. Other kernels give 0.8 to 1.1 of it (root mean square), a wrong formula up to 100; small
  ones hide in the rounding, which float32 folders do not have.

Integers, masks and shapes must be equal.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from diffusers import AutoencoderKLCogVideoX
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from safetensors.torch import load_file

from relane.editors.videopainter import latents as codec
from relane.editors.videopainter.loading import UNUSED_BRANCH_KEYS, load_id_lora
from relane.editors.videopainter.networks import CogvideoXBranchModel, VideoPainterTransformer, joint_mask, token_mask
from relane.editors.videopainter.options import Options
from relane.editors.videopainter.pipeline import VideoPainter
from relane.io.files import read_json

STAGES = ("branch", "model_out", "latents_after", "video")
CPU = torch.device("cpu")
Tensors = dict[str, torch.Tensor]


# float32: largest difference by the tensor's largest value.
FLOAT32 = 1e-5
# bfloat16: distance from float32 by our own distance from it, as root mean square and at the worst place. What counts
# as a distance at least: half a step of the format.
BFLOAT16_RMS, BFLOAT16_WORST, HALF_STEP = 1.3, 3.0, 2**-9


class Verdict(NamedTuple):
    """How ours and theirs differ: the largest difference, and its share of what rounding explains (above 1: fail)."""

    difference: float
    share: float

    @property
    def ok(self) -> bool:
        return self.share <= 1

    def __str__(self) -> str:
        return f"{self.difference:.3g} ({self.share:.2f})"


class Golden:
    """A folder of reference outputs and the models that it was made with."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.configs = read_json(folder / "configs.json")
        self.report = read_json(folder / "report.json")
        self.inputs = load_file(folder / "inputs.safetensors")
        if self.inputs["masks"].ndim == 4:  # three equal channels
            self.inputs["masks"] = self.inputs["masks"][..., 0]
        # A run in bfloat16 says so by its weights, or where they were kept in float32 by what went into them.
        read = (*load_file(folder / "transformer.safetensors").values(), *self.inputs.values())
        kinds = {tensor.dtype for tensor in read if tensor.is_floating_point()}
        self.dtype = torch.bfloat16 if torch.bfloat16 in kinds else torch.float32

    def models(self, id_mode: bool = False, lora: bool = False, dtype: torch.dtype | None = None) -> VideoPainter:
        """Fresh models with the folder's weights, on the CPU, in the folder's dtype or in this one."""
        parts = {}
        for name, kind in (
            ("transformer", VideoPainterTransformer),
            ("branch", CogvideoXBranchModel),
            ("vae", AutoencoderKLCogVideoX),
        ):
            config = {key: value for key, value in self.configs[name].items() if key not in UNUSED_BRANCH_KEYS}
            parts[name] = kind(**config)
            parts[name].load_state_dict(load_file(self.folder / f"{name}.safetensors"), strict=True)
            torch.nn.Module.to(parts[name], dtype or self.dtype)  # diffusers' own warns of parts that these do not have
        parts["transformer"].set_id_resample(id_mode)
        if lora:
            load_id_lora(parts["transformer"], self.folder / "lora")
        return VideoPainter(**parts, scheduler_config=self.configs["scheduler"], device=CPU)

    def options(self, case: str) -> Options:
        """The original's options with this case's arguments."""
        given = self.configs["cases"][case]
        named = ("num_frames", "stride", "guidance_scale", "replace_gt", "mask_add", "prev_clip_weight", "add_first")
        return Options.exact(
            num_inference_steps=self.configs["steps"],
            conditioning_scale=given["conditioning_scale"],
            guidance="original_dynamic" if given["use_dynamic_cfg"] else "constant",
            sampler=given["sched"],
            background="given",  # the vectors give the video with its holes painted already
            **{name: given[name] for name in named},
        )

    def run(self, case: str, options: Options | None = None, dtype: torch.dtype | None = None) -> Tensors:
        """Every traced tensor of one case, by the vectors' names; dtype: as for `models`."""
        given = self.configs["cases"][case]
        frames, masks = self.inputs["masked"].numpy(), self.inputs["masks"].numpy() > 127
        traced: Tensors = {}
        generator = torch.Generator("cpu").manual_seed(self.configs["gen_seed"])
        pieces = self.models(given["id_mode"], given["lora"], dtype).edit(
            read=lambda start, stop: (frames[start:stop], masks[start:stop]),
            frames=given["total"],
            image=frames[0],
            prompt=self.inputs["prompt_embeds"],
            negative=self.inputs["negative_prompt_embeds"],
            options=options or self.options(case),
            generator_fn=lambda start, purpose: generator,
            trace=lambda name, tensor: traced.update({name: tensor.clone()}),
        )
        traced["video"] = torch.cat([torch.from_numpy(piece) for piece in pieces])[None]
        return traced


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest absolute difference; infinite when shapes differ, so that a wrong shape never passes."""
    if ours.shape != theirs.shape:
        return float("inf")
    value = (ours.double() - theirs.double()).abs().max().item()
    return value if value == value else float("inf")


def judge(theirs: torch.Tensor, ours: torch.Tensor | None, exact: torch.Tensor | None = None) -> Verdict:
    """Ours against theirs. `exact`, what float32 makes of a bfloat16 folder, gives the measure there."""
    largest = float("inf") if ours is None else difference(ours, theirs)
    if largest == float("inf") or not theirs.is_floating_point():
        return Verdict(largest, float("inf") if largest else 0.0)
    if exact is None:
        return Verdict(largest, largest / (FLOAT32 * (theirs.abs().max().item() or 1.0)))
    theirs, ours, exact = theirs.double(), ours.double(), exact.double()
    if torch.equal(theirs, exact) or torch.equal(theirs, ours):  # nothing was rounded, or alike
        return Verdict(largest, 0.0)
    shares = []
    for size, allowed in ((_rms, BFLOAT16_RMS), (_worst, BFLOAT16_WORST)):
        rounding = max(size(ours - exact), HALF_STEP * size(exact))
        shares.append(size(theirs - exact) / (allowed * rounding) if rounding else float("inf"))
    return Verdict(largest, max(shares))


def _rms(values: torch.Tensor) -> float:
    return values.square().mean().sqrt().item()


def _worst(values: torch.Tensor) -> float:
    return values.abs().max().item()


def worst_of(verdicts: Iterable[Verdict]) -> Verdict:
    """The largest difference and the largest share, of whichever tensor."""
    return Verdict(*map(max, zip(*verdicts, strict=True)))


def as_stored(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The original repeats masks and masked latents for guidance and keeps the mask's channels before its frames."""
    if name.endswith("_mask"):
        ours = ours.permute(0, 2, 1, 3, 4)
    if name.endswith(("_mask", "_masked_video_latents")):
        ours = ours.expand(theirs.shape[0], *ours.shape[1:])
    return ours


def compare_case(golden: Golden, case: str, options: Options | None = None) -> dict[str, Verdict]:
    """Verdicts by stage: branch, model_out, latents_after, video, and `rest` (preparation, final, scale)."""
    expected, ours = load_file(golden.folder / f"case_{case}.safetensors"), golden.run(case, options)
    exact = golden.run(case, options, torch.float32) if golden.dtype != torch.float32 else None
    found: dict[str, list[Verdict]] = {stage: [Verdict(0.0, 0.0)] for stage in (*STAGES, "rest")}
    for name, theirs in expected.items():
        stage = next((stage for stage in STAGES if stage in name.removesuffix("_video_latents")), "rest")
        pair = [run and run.get(name) for run in (ours, exact)]
        stored = (None if tensor is None else as_stored(name, tensor, theirs) for tensor in pair)
        found[stage].append(judge(theirs, *stored))
    return {stage: worst_of(verdicts) for stage, verdicts in found.items()}


def compare_modules(golden: Golden) -> Iterator[tuple[str, Verdict]]:
    """Name and verdict of every module vector that the folder holds."""
    expected = load_file(golden.folder / "modules.safetensors")
    ours = module_outputs(golden, expected, golden.dtype)
    exact = module_outputs(golden, expected, torch.float32) if golden.dtype != torch.float32 else None
    for name, theirs in expected.items():
        if name == "prev_mask":  # an input
            continue
        yield name, judge(theirs, ours.get(name), exact and exact.get(name))


def module_outputs(golden: Golden, expected: Tensors, dtype: torch.dtype) -> Tensors:
    """Our outputs for the module vectors, by their names, computed in `dtype`."""
    models = golden.models(dtype=dtype)
    given = {name: t.to(dtype) if t.is_floating_point() else t for name, t in golden.inputs.items()}
    text, timestep = given["m_text"], given["m_timestep"]
    rotary = models._rotary(golden.options("single"), golden.configs["transformer"]["sample_frames"])
    released = get_3d_rotary_pos_embed(64, ((0, 0), (30, 45)), (30, 45), 13)
    out = {"rope_cos": rotary[0], "rope_sin": rotary[1]}
    out |= {"rope5b_cos_every37": released[0][::37], "rope5b_sin_every37": released[1][::37]}
    x = torch.cat([given["m_latents"], given["m_image"]], dim=2)
    cond = torch.cat([given["m_masked"], given["m_mask"]], dim=2)
    tokens = token_mask(given["m_mask"])
    out["tr_resample_mask"] = memory_mask = joint_mask(tokens, text.shape[1])

    with torch.no_grad():
        samples = models.branch(given["m_latents"], text, cond, timestep, rotary)

        def predict(**extra: object) -> torch.Tensor:
            return models.transformer(x, text, timestep, rotary, **extra)[0]

        masked = {"branch_samples": samples, "token_mask": tokens}
        out |= {f"branch_{index}": sample for index, sample in enumerate(samples)}
        out["tr_nobranch"] = predict()
        out["tr_branch_nomask"] = predict(branch_samples=samples)
        out["tr_branch_mask"], states = models.transformer(x, text, timestep, rotary, **masked, keep_states=True)
        out |= {f"tr_branch_mask_hidden_{index}": state for index, state in enumerate(states)}
        out["tr_branch_mask_addfirst"] = predict(**masked, add_first=True)
        before = {"previous_states": states, "previous_weight": 0.5}
        out["tr_prev_plain"] = predict(**masked, **before)
        models.transformer.set_id_resample(True)
        out["tr_id_noprev"] = predict(**masked, memory_mask=memory_mask)
        out["tr_id_prev05"] = predict(**masked, **before, memory_mask=expected["prev_mask"])
        out["tr_id_prev0"] = predict(**masked, previous_states=states, memory_mask=memory_mask)

        size = golden.configs["height"], golden.configs["width"]
        out["pre_video"] = codec.video_tensor(given["masked"][:9].numpy(), *size)
        out["pre_mask"] = codec.mask_tensor(given["masks"][:9].numpy() > 127, *size)
        posterior = models.vae.encode(out["pre_video"].to(dtype)).latent_dist
        out |= {"vae_mean": posterior.mean, "vae_std": posterior.std}
        out["vae_decode"] = models.vae.decode(posterior.mean).sample
    return out


def main(argv: list[str] | None = None) -> int:
    """Check a folder; returns 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of reference outputs")
    golden = Golden(parser.parse_args(argv).folder)
    failed = False
    print(f"dtype {golden.dtype}; differences with (their share of what rounding explains)")
    for name, verdict in compare_modules(golden):
        failed |= not verdict.ok
        print(f"module {name:28s} max|difference| {verdict}  {'pass' if verdict.ok else 'fail'}", flush=True)
    for case in golden.configs["cases"]:
        outcome = golden.report["cases"].get(case, {})
        if not outcome.get("ok"):
            print(f"case {case:22s} the original cannot run it: {outcome.get('error', 'not in report.json')}")
        elif not (golden.folder / f"case_{case}.safetensors").is_file():
            print(f"case {case:22s} not in this folder")
        else:
            worst = compare_case(golden, case)
            ok = all(verdict.ok for verdict in worst.values())
            failed |= not ok
            stages = "  ".join(f"{stage} {verdict}" for stage, verdict in worst.items())
            print(f"case {case:22s} max|difference| {stages}  {'pass' if ok else 'fail'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
