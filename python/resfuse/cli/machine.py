"""What the command line asks of the machine, on every system."""

import os
import platform
import subprocess
import sys
from pathlib import Path

from resfuse.kernel import extension


def cpus() -> int:
    """The CPUs that this process may use: all of them where the system binds none (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """The size of XLA's pool on a CPU, by XLA's own rule."""
    asked = os.environ.get("NPROC", "")
    return int(asked) if asked.isdigit() and int(asked) else cpus()


def caches() -> list[str]:
    """As in ``L2 2048 KiB``; none without the extension."""
    return [f"{level} {size >> 10} KiB" for level, size in extension.caches().items()]


def processor() -> str:
    """The processor as the system names it, or its architecture."""
    return _name() or platform.machine()


def _name() -> str:
    if sys.platform == "darwin":
        command = ("sysctl", "-n", "machdep.cpu.brand_string")
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
