"""What a command writes: text that goes out whatever the system's code page, and a quiet end where nobody reads on."""

import errno
import functools
import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

__all__ = ["CLOSED", "command", "duration", "is_closed"]

CLOSED = 141  # 128 + SIGPIPE: what a shell says of a program whose reader has gone, as in `... | head -1`


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Prepare the output for a command's main function, and end it with status ``CLOSED`` where nobody reads on."""

    @functools.wraps(main)
    def run(*arguments, **options) -> int:
        _prepare()
        try:
            status = main(*arguments, **options)
            if not status:
                print(end="", flush=True)  # else what is left would fail as Python ends
            return status
        except OSError as error:
            if not is_closed(error):
                raise
            return CLOSED
        finally:
            for stream in (sys.stdout, sys.stderr):
                if not _takes_all(stream):  # closed, or a full disk, which was told
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    return run


def duration(seconds: float) -> str:
    """Write a time as a person says it: in seconds, minutes or hours."""
    for unit, length, shown in (("hours", 3600, ".1f"), ("minutes", 60, ".0f")):
        if seconds >= 1.5 * length:
            return f"{seconds / length:{shown}} {unit}"
    return "1 second" if f"{seconds:.0f}" == "1" else f"{seconds:.0f} seconds"


def is_closed(error: OSError) -> bool:
    """Say whether an error came from writing to somebody who reads no more."""
    if os.name != "nt":
        return isinstance(error, BrokenPipeError)
    invalid = error.errno == errno.EINVAL  # Windows' word for it, and for much else
    return invalid and not all(_takes_all(stream) for stream in (sys.stdout, sys.stderr))


def _prepare() -> None:
    """Write UTF-8 into files and pipes, and to a terminal what it can show; other characters become escapes.

    A code page of Windows lacks θ, ≥ and the minus sign. An encoding that PYTHONIOENCODING asks for is kept.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is of another kind
            free = not stream.isatty() and not os.environ.get("PYTHONIOENCODING")
            stream.reconfigure(encoding="utf-8" if free else None, errors="backslashreplace")


def _takes_all(stream: TextIO | None) -> bool:
    """Say whether what was written has gone out; what has not stays in the buffer, and fails again."""
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except OSError:
        return False
    return True
