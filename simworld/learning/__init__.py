"""How the tiny checkpoints learn the synthetic world: pictures of it, the training loop, and the four losses.

Modules: `pictures` (rendering in parallel), `loop` (schedule, budget, resuming), `roads` (SAM2), `reading` (Qwen2.5-VL
and CLIP), `vision` (speed for pictures of one size), `drives` and `driving` (the Alpamayo-format driver).
"""
