"""Alpamayo-R1, and any checkpoint of its format, on stock transformers, as a driver.

Written from a description of the model and from frozen outputs of the original, not from its source. The modules, in
the order data passes through them: `config` (the checkpoint's config.json), `tokens` (the prompt to the byte and the
history as tokens), `networks` and `checkpoint` (the parts and their tensors), `sampling` (where random numbers come
from), `policy` (the rollout), `action_space` (actions to a path), `readable` (whether a reply is one) and `driver`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from relane.drivers import Sight
from relane.names import CAMERAS

if TYPE_CHECKING:
    from relane.drivers.alpamayo.driver import Alpamayo

CHECKPOINT = "alpamayo"
# By drive.cameras: the model's own four, or all seven, which is outside its training: the prompt names no camera, so
# that three more of them move the front tele camera to another place in the sequence.
READ = {4: tuple(CAMERAS[index] for index in (0, 1, 2, 6)), 7: CAMERAS}
# The model's clock is 10 Hz, whatever the rate of a video.
STEP_US = 100_000
FRAMES, HISTORY, FUTURE = 4, 16, 64


def sight(options: Mapping[str, Any]) -> Sight:
    """Four frames, sixteen poses and sixty-four waypoints, 0.1 s apart."""
    return Sight(
        READ[options["cameras"]],
        tuple(STEP_US * back for back in range(1 - FRAMES, 1)),
        tuple(STEP_US * back for back in range(1 - HISTORY, 1)),
        tuple(STEP_US * ahead for ahead in range(1, FUTURE + 1)),
    )


def load(folder: str, device: str, dtype: str) -> "Alpamayo":
    """The model of a checkpoint folder (see `policy.load_policy`)."""
    from relane.drivers.alpamayo.driver import Alpamayo
    from relane.drivers.alpamayo.policy import load_policy

    return Alpamayo(load_policy(folder, device, dtype))
