"""Relane: repaint lane markings in driving video, and measure whether a driving model cares."""

__version__ = "0.1.0"
