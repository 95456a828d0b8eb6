"""The stages of `benchmarks/full_size.py`, one module each with `run(bench)`, and what they share.

Imports of heavy libraries stand at the top of a stage's module: the stage's process does them while the stage before it
still has the device.
"""
