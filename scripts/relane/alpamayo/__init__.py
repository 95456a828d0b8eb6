"""Inference of Alpamayo-R1, and of any checkpoint of its format, on stock transformers.

Written from a description of the model and from frozen outputs of the original, not from its source. The modules, in
the order data passes through them: `config` (the checkpoint's config.json), `tokens` (the prompt to the byte and the
history as tokens), `networks` and `checkpoint` (the parts and their tensors), `sampling` (where random numbers come
from), `policy` (the rollout), `action_space` (actions to a path) and `metrics` (paths against the recorded future).
"""
