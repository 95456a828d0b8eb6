"""Peak memory of this process, on the host and on its GPUs together; torch is asked only where it is in use."""

import contextlib
import resource
import sys
from pathlib import Path


def _cuda():
    """torch.cuda where it is in use in this process, else None. Never the one to import torch."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch and torch.cuda.is_available() and torch.cuda.is_initialized() else None


def reset_host_peak() -> None:
    """Count the host's memory anew from here, where Linux allows: for a process that serves one item after another."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def reset_gpu_peaks() -> None:
    """Count the GPUs' memory anew from here: of the work, and not of the loading before it."""
    cuda = _cuda()
    for device in range(cuda.device_count() if cuda else 0):
        cuda.reset_peak_memory_stats(device)


def gpu_peak(wait: bool = False) -> int:
    """Peak GPU memory of this process in bytes, over its GPUs together; 0 without one. wait: for the devices first."""
    cuda, peak = _cuda(), 0
    for device in range(cuda.device_count() if cuda else 0):
        if wait:
            cuda.synchronize(device)
        peak += cuda.max_memory_allocated(device)
    return peak


def peaks() -> dict[str, int]:
    """`gpu_peak_bytes` and `host_peak_bytes` since they were last reset, as every sidecar has them."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"gpu_peak_bytes": gpu_peak(), "host_peak_bytes": host}


def in_use() -> tuple[int, int]:
    """Bytes that this process holds now: on its GPUs together (0 without one), and on the host (0 where unknown)."""
    cuda = _cuda()
    gpu = sum(cuda.memory_allocated(device) for device in range(cuda.device_count())) if cuda else 0
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):  # Linux only
        return gpu, 0
    return gpu, pages * resource.getpagesize()
