"""Qwen2.5-VL learns to judge: the critic's three panels of good and bad paintings, and what should be said of each.

A painting is the ideal edit (the same drive with other paint) laid into the source inside a mask, as an autoencoder
would leave it, with markings that were or were not asked for, and now and then one fault.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from relane.prompts import critic, lanes
from relane.prompts.lanes import Attributes
from simworld.learning import reading
from simworld.learning.pictures import ALL

# What the critic writes of each fault, and of a painting without it.
GOOD = {
    "texture": "The road looks real.",
    "perspective": "The lines fit.",
    "lighting": "Light matches.",
    "background": "It is unchanged.",
}
FAULTS = {
    "blurred": ("texture", "The paint is blurred."),
    "smeared": ("texture", "The paint is smeared."),
    "halved": ("perspective", "The line stops halfway."),
    "tone": ("lighting", "The road has another tone."),
    "background": ("background", "It has changed."),
}
ASKED_FOR = ("count", "color", "pattern")


@dataclass(frozen=True)
class Painting:
    """What is known of one painting: the markings asked for and those to be seen, and its fault ("" for none)."""

    wanted: Attributes
    seen: Attributes
    fault: str = ""

    @property
    def passed(self) -> bool:
        """As asked, and without a fault."""
        return not self.fault and not self.wrong

    @property
    def wrong(self) -> list[str]:
        """Attributes that were asked for and are not there."""
        known = self.wanted.known()
        return [name for name in known if known[name] != getattr(self.seen, name)]

    def question(self, again: bool = False) -> str:
        """The critic's question about it."""
        instruction = lanes.instruction_of(self.wanted)
        caption = critic.first_caption(instruction, self.wanted)
        return critic.QUESTION.format(instruction=instruction, caption=caption) + (critic.AGAIN if again else "")

    def reply(self) -> str:
        """What a good critic answers, in few words: first what is seen, then what follows from it."""
        notes = dict(GOOD)
        if self.fault:
            name, notes_it = FAULTS[self.fault]
            notes[name] = notes_it
        better = "" if self.passed else critic.first_caption(lanes.instruction_of(self.wanted), self.wanted)
        return reading.compact(
            {
                "seen": asdict(self.seen),
                "notes": notes,
                "verdict": "PASS" if self.passed else "FAIL",
                "score": max(9 - 3 * len(self.wrong) - 4 * bool(self.fault), 0),
                "caption": better,
            }
        )


def texts() -> list[str]:
    """Every question and reply that can occur, for the vocabulary."""
    plain = Painting(ALL[0], ALL[0])
    paintings = [Painting(wanted, ALL[0], fault) for wanted in ALL for fault in ("", *FAULTS)]
    replies = [one.reply() for one in paintings] + [str(number) for number in range(11)]
    return [plain.question(True), *(one.question() for one in paintings), *replies]


def draw_painting(rng: np.random.Generator, markings: np.ndarray) -> tuple[int, int, Painting]:
    """Which versions of a moment are source and edit, and what is asked and seen. markings (4,): indices into ALL."""
    source, edit = (int(number) for number in rng.integers(len(markings), size=2))
    shown = ALL[markings[edit]]
    kind = rng.random()
    if kind < 0.45:
        return source, edit, Painting(_partly(rng, shown), shown)
    if kind < 0.75:
        # Mostly one thing is wrong, often because nothing was repainted at all.
        if rng.random() < 0.3:
            source = edit
        other = ALL[rng.integers(len(ALL))]
        name = ASKED_FOR[rng.integers(3)]
        if rng.random() < 0.6 or other == shown:
            values = reading.NAMES[name]
            other = replace(shown, **{name: values[1 - values.index(getattr(shown, name))]})
        return source, edit, Painting(_partly(rng, other), shown)
    fault = list(FAULTS)[rng.integers(len(FAULTS))]
    seen = shown
    if fault == "blurred":
        seen = replace(shown, count="unknown")
    elif fault == "smeared":
        edit |= 1  # the dashed one of a pair
        shown = ALL[markings[edit]]
        seen = replace(shown, pattern="unknown")
    elif fault == "halved":
        source = (edit + 1 + int(rng.integers(3))) % 4
        seen = _both(shown, ALL[markings[source]])
    return source, edit, Painting(shown, seen, fault)


def _partly(rng: np.random.Generator, wanted: Attributes) -> Attributes:
    """Sometimes not everything is asked for."""
    if rng.random() < 0.85:
        return wanted
    dropped = rng.permutation(ASKED_FOR)[: rng.integers(1, 3)]
    return replace(wanted, **{str(name): "unknown" for name in dropped})


def _both(one: Attributes, other: Attributes) -> Attributes:
    """What a line looks like that is painted one way here and another way there."""
    values = asdict(one)
    for name in one.contradicts(other):
        values[name] = "unknown" if name == "count" else "mixed"
    return Attributes(**values)


class Panels:
    """The critic's three-panel pictures, put together on the device."""

    def __init__(self, data: reading.Moments) -> None:
        self.data = data
        height, width = data.images.shape[2:4]
        nothing = np.zeros((height, width, 3), np.uint8)
        frame = critic.three_panels(nothing, nothing[..., 0] > 0, nothing)
        self.frame = torch.from_numpy(frame).to(data.device).float()
        self.top, self.step = frame.shape[0] - height, (frame.shape[1] - width) // 2
        self.height, self.width = height, width
        self.grid = reading.grid_of(*frame.shape[:2])

    def join(self, source: torch.Tensor, mask: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
        """`critic.three_panels` for batches: pictures (B, H, W, 3) float, mask (B, H, W) bool."""
        panels = self.frame.repeat(len(source), 1, 1, 1)
        white = mask[..., None].float().mul(255).expand_as(source)
        for number, part in enumerate((source, white, result)):
            left = number * self.step
            panels[:, self.top :, left : left + self.width] = part
        return panels

    def draw(self, batch: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[Painting], torch.Tensor]:
        """Panels (B, h, w, 3) as the processor shows them, what is known of each, and its true markings (B,)."""
        rows = rng.integers(len(self.data), size=batch)
        marks = self.data.markings[torch.from_numpy(rows).to(self.data.device)].cpu().numpy()
        drawn = [draw_painting(rng, mark) for mark in marks]
        at = torch.from_numpy(rows).to(self.data.device)
        sources = torch.tensor([one[0] for one in drawn], device=self.data.device)
        edits = torch.tensor([one[1] for one in drawn], device=self.data.device)
        which = torch.from_numpy((rng.random(batch) < 0.7).astype(int)).to(self.data.device)
        mask = self.data.masks[at, which]
        pair = torch.cat([self.data.images[at, sources], self.data.images[at, edits]]).float()
        paintings = [one[2] for one in drawn]
        smear = torch.tensor([one.fault == "smeared" for one in paintings], device=self.data.device)
        if bool(smear.any()):
            # Dashes that ran: the gaps are half painted.
            solid = self.data.images[at, edits & 2].float()
            pair[batch:][smear] = 0.5 * (pair[batch:] + solid)[smear]
        pair = self._same_light(pair, batch)
        source, edit = pair[:batch], pair[batch:]
        result = self._faulty(source, edit, mask, paintings, rng)
        both = torch.stack([source, result], 1)
        if rng.random() < 0.5:
            both, mask = both.flip(3), mask.flip(2)
        joined = self.join(both[:, 0].round(), mask, both[:, 1].round())
        return reading.shown(joined, self.grid), paintings, self.data.markings[at, edits]

    def _same_light(self, pair: torch.Tensor, batch: int) -> torch.Tensor:
        """Source and edit in the same other light; each with noise of its own."""
        device = pair.device
        gain = 1 + 0.08 * torch.randn(batch, 1, 1, 1, device=device) + 0.02 * torch.randn(batch, 1, 1, 3, device=device)
        offset = 4 * torch.randn(batch, 1, 1, 1, device=device)
        pair = pair * gain.repeat(2, 1, 1, 1) + offset.repeat(2, 1, 1, 1)
        noise = 3 * torch.rand(batch, 1, 1, 1, device=device).repeat(2, 1, 1, 1)
        return (pair + noise * torch.randn_like(pair)).clamp(0, 255)

    def _faulty(
        self,
        source: torch.Tensor,
        edit: torch.Tensor,
        mask: torch.Tensor,
        paintings: list[Painting],
        rng: np.random.Generator,
    ) -> torch.Tensor:
        """The result: the edit inside the mask as a painter leaves it, with the fault that each row has."""
        device, batch = source.device, len(source)
        faults = np.array([one.fault for one in paintings])

        def column(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values.astype(np.float32)).to(device)

        # An autoencoder softens a little and shifts the tone a little; a fault is well beyond both.
        sigma = np.where(faults == "blurred", rng.uniform(2.2, 4.5, batch), rng.uniform(0, 0.9, batch))
        off = np.where(rng.random(batch) < 0.5, rng.uniform(-0.3, -0.15, batch), rng.uniform(0.16, 0.35, batch))
        tone = 1 + np.where(faults == "tone", off, rng.normal(0, 0.015, batch))
        painted = reading.softened(edit, column(sigma)) * column(tone)[:, None, None, None]
        if (faults == "halved").any():
            row = torch.arange(self.height, device=device)[None, :, None, None]
            edge = column(self.height * rng.uniform(0.57, 0.68, batch))[:, None, None, None]
            # The far part alone, or the near part alone, is repainted.
            upper = (row < edge) == torch.from_numpy(rng.random(batch) < 0.5).to(device)[:, None, None, None]
            halved = torch.from_numpy(faults == "halved").to(device)[:, None, None, None]
            painted = torch.where(halved & upper, source, painted)
        weight = mask.float()
        weight = F.avg_pool2d(weight[:, None], 5, 1, 2)[:, 0] * weight
        result = source + weight[..., None] * (painted - source)
        changed = np.where(rng.random(batch) < 0.5, rng.uniform(-0.3, -0.15, batch), rng.uniform(0.15, 0.3, batch))
        gain = column(np.where(faults == "background", changed, 0.0))[:, None, None, None]
        return (result * (1 + gain * ~mask[..., None])).clamp(0, 255)

    def loss(
        self, reader: reading.Reader, words: reading.Words, batch: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict]:
        """Loss of a batch of verdicts, and figures."""
        pictures, paintings, markings = self.draw(batch, rng)
        again = rng.random() < 0.1
        pairs = [(one.question(again), one.reply()) for one in paintings]
        ids, labels, start = words.rows(pairs, self.grid)
        logits, seen = reader(pictures, ids, start)
        loss, right = reading.said(logits, labels)
        sure = [
            mark if one.fault in ("", "tone", "background") else None
            for one, mark in zip(paintings, markings.tolist(), strict=True)
        ]
        # The result is the panel on the right.
        tokens = seen.view(len(seen), self.grid[0] // 2, self.grid[1] // 2, -1)
        third = tokens[:, :, -(self.grid[1] // 6) :].flatten(1, 2)
        verdict = words.ids('"PASS')[-1], words.ids('"FAIL')[-1]
        said = torch.isin(labels, torch.tensor(verdict, device=labels.device))
        agreed = (logits.argmax(-1) == labels)[said].float().mean()
        return loss + reading.glanced(reader, third, sure), {"judged": right, "agreed": agreed}
