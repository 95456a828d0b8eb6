"""A small synthetic driving world with ground truth, written in PhysicalAI-AV's on-disk layout."""

from simworld.world.scene import Frame, Scene

__all__ = ["Frame", "Scene"]
