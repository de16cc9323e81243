"""Where a run happened: code version, package versions, device and memory; no host name and no path."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from atif_lib.paths import CHECKOUT

DEPENDS_ON = ("atif_lib", "pyproject.toml", "requirements.lock")  # what can change a run's numbers
PACKAGES = ("torch", "torchvision", "torchaudio", "spikingjelly", "lightning-fabric", "atif_lib", "numpy", "scipy")


def first_process() -> bool:
    """Tell whether this process writes what a run leaves; of the several that torchrun starts, the first alone does."""
    return not int(os.environ.get("RANK") or 0)


def git_state() -> tuple[str | None, bool | None]:
    """HEAD and whether `DEPENDS_ON` differs from it; (None, None), and in a checkout a word why, where git has none."""
    if CHECKOUT is None:
        return None, None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, encoding="utf-8", errors="replace", timeout=60
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() == CHECKOUT:
            return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", *DEPENDS_ON))
        _say_no_commit("the library is not in a repository of its own")
    except subprocess.CalledProcessError as error:
        _say_no_commit(next(iter(error.stderr.splitlines()), f"git ended with status {error.returncode}"))
    except (OSError, subprocess.SubprocessError) as error:
        missing = isinstance(error, FileNotFoundError)
        _say_no_commit("git is not installed" if missing else f"git does not run: {error}")
    return None, None


@cache
def _say_no_commit(why: str) -> None:
    """Say so on standard error, once."""
    print(f"atif_lib: the record has no commit: {why}", file=sys.stderr)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Versions of Python and of what computes the numbers; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def cuda_in_use() -> bool:
    """Tell whether this process computes on an NVIDIA GPU; it imports no torch to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()


def device() -> str:
    """Name of the GPU if this process uses one, of the processor, and the number of threads torch may use.

    Of several processes of one training their number stands before that.
    """
    many = int(os.environ.get("WORLD_SIZE") or 1)
    return f"{many} processes, each {_own_device()}" if many > 1 else _own_device()


def _own_device() -> str:
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else os.cpu_count()
    cpu = f"{_processor()}, {threads} thread{'s' if threads != 1 else ''}"
    if torch and cuda_in_use():
        return f"{torch.cuda.get_device_name()}; {cpu}"
    mps = torch is not None and torch.backends.mps.is_available() and torch.mps.driver_allocated_memory() > 0
    return f"MPS; {cpu}" if mps else cpu


def _processor() -> str:
    """Model name of the processor; `platform.processor()` is empty on Linux."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine() or "unknown processor"


def peak_memory_mib() -> float | None:
    """Peak memory in MiB: of torch's allocator on a GPU in use, else of the whole process; None on Windows.

    The process's peak is over its lifetime: compare runs only when each had its own process.
    """
    if cuda_in_use():
        return round(sys.modules["torch"].cuda.max_memory_allocated() / 2**20, 1)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def reset_peak_memory() -> None:
    """Start counting a GPU's peak anew; a process's own peak cannot be reset."""
    if cuda_in_use():
        sys.modules["torch"].cuda.reset_peak_memory_stats()
