"""End a command at Ctrl-C, or when it is asked to end, with all that it started."""

import functools
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import psutil

INTERRUPTED = 130  # 128 + SIGINT: what a shell says of a program that Ctrl-C ended


def interruptible(main: Callable[[], int]) -> Callable[[], int]:
    """End a command's main function with one line and status `INTERRUPTED`, by whichever signal it is stopped."""

    @functools.wraps(main)
    def run() -> int:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return main()
        except KeyboardInterrupt:
            print("\ninterrupted; the same command goes on from here", file=sys.stderr)
            return INTERRUPTED
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


def stop(pool: Executor, running: Iterable[Any]) -> None:
    """Begin nothing more of a pool, and end what runs; `running` are processes with a `pid`."""
    pool.shutdown(wait=False, cancel_futures=True)
    for process in running:
        end(process.pid)


def end(pid: int) -> None:
    """End a process and all that it started: a kernel is in a group of its own, which no Ctrl-C reaches."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
