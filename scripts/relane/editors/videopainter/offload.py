"""Weights that wait in host memory and come to the device for as long as their network works."""

import contextlib
from collections.abc import Iterator

import torch


class Parked:
    """A network in host memory. Its weights are copied to a device and dropped there, never copied back.

    Inference does not change them, so the way back, which is the slower one, would only bring what is here already.
    """

    def __init__(self, network: torch.nn.Module):
        """`network` may be anywhere; it is moved to host memory."""
        network.to("cpu")
        self._host = [(tensor, tensor.data) for tensor in (*network.parameters(), *network.buffers())]

    @contextlib.contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """The network on `device` for the length of a `with`."""
        try:
            for tensor, host in self._host:
                tensor.data = host.to(device, copy=True)
            yield
        finally:
            for tensor, host in self._host:
                tensor.data = host
