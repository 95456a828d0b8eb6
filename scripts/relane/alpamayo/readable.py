"""Whether what the model wrote is a reply at all: a path follows any words, and an unread reply would be an effect.

A reply is read when it reaches its path. One that is cut at its token limit is read too, as far as it goes, and only
recorded as incomplete. Unreadable is one that never reaches its path and that no longer limit would help: it ends by
itself, or what stands there is no words (tokens of the prompt or of a chat, broken bytes, no letter at all).
"""

from collections.abc import Sequence

import numpy as np

from relane.alpamayo.policy import Policy, Rollout
from relane.alpamayo.tokens import TEXT_PARTS
from relane.errors import InputError

_BROKEN = "\N{REPLACEMENT CHARACTER}"  # what bytes that are no UTF-8 are decoded as


def readable(tokenizer, ids: Sequence[int], complete: bool) -> bool:
    """Whether a reply, ids without padding, reached its path or was cut while it still wrote words."""
    if complete:
        return True
    marks = {f"<|{part}_{end}|>" for part in TEXT_PARTS for end in ("start", "end")}
    own = set(tokenizer.convert_tokens_to_ids(sorted(marks)))
    if set(ids) & (set(tokenizer.added_tokens_decoder) - own):
        return False
    words = tokenizer.decode([token for token in ids if token not in own]).rstrip(_BROKEN)  # a cut may split a letter
    return _BROKEN not in words and any(letter.isalpha() for letter in words)


def refuse_unreadable(policy: Policy, rollout: Rollout, options: str) -> None:
    """Raise InputError when not one of a scene's replies can be read; names checkpoint, dtype and `options`.

    `rollout` is of one scene (`Rollout.scene`).
    """
    rows = [ids[:length] for ids, length in zip(rollout.tokens[0], rollout.lengths[0], strict=True)]
    read = [readable(policy.tokenizer, ids.tolist(), done) for ids, done in zip(rows, rollout.complete[0], strict=True)]
    if np.any(read):
        return
    dtype = str(policy.network.action_out_proj.weight.dtype).removeprefix("torch.")
    other = "" if dtype == "float32" else ", or compute otherwise (drive.dtype: float32)"
    raise InputError(
        f"{policy.folder}: none of its {len(rows)} replies can be read, the last is "
        f"{policy.tokenizer.decode(rows[-1].tolist())[-200:]!r} (computed in {dtype}, {options}); nothing was written. "
        f"Fetch the checkpoint again{other}"
    )
