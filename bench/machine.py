"""One line about the machine, because no figure means anything without it."""

import os
import platform
import statistics
import tempfile
import time
from pathlib import Path


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown CPU"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def fsync_ms(directory: Path, samples: int = 50) -> float:
    """The median milliseconds of a 4 KiB append and fsync: the price of one commit."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(samples):
            began = time.perf_counter()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def describe(directory: Path) -> str:
    """CPU, cores, memory, kernel, Python, load and the cost of a synced write."""
    return (
        f"{_cpu_model()}, {os.cpu_count()} cores, {_memory_gib():.1f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.2f}, 4 KiB fsync {fsync_ms(directory):.2f} ms"
    )
