"""Checkpoints: a training that was interrupted, in any way and at any moment, goes on with nothing lost."""

import io
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from atif_lib.paths import write_whole

__all__ = ["STOP_SIGNALS", "Checkpoint", "Progress", "handle_stops", "save_weights", "stop_requests", "tell_stop"]


@dataclass
class Progress:
    """How far a training is: the metrics of its epochs, the losses of the one under way, and the seconds it took."""

    history: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    begun: float = field(default_factory=time.perf_counter)

    def elapsed(self) -> float:
        """Training time in seconds, earlier sittings included."""
        return self.seconds + time.perf_counter() - self.begun

    def close_epoch(self, metrics: dict[str, Any]) -> None:
        """Add an epoch to the history."""
        loss = torch.stack(self.losses).mean()
        done = self.history[-1]["epoch"] if self.history else 0
        self.history.append({"epoch": done + 1, "seconds": self.elapsed(), "train_loss": loss.item()} | metrics)
        self.losses.clear()


class Checkpoint:
    """The state of a training in ``folder/checkpoint.pt``, and its metrics in ``folder/metrics.csv``.

    A file is replaced in one move once the new one is whole on the disk: a crash or a full disk while writing leaves
    the one before. With ``folder=None`` nothing is kept. ``config`` is what a run that goes on must have in common.
    """

    def __init__(
        self, folder: Path | None, config: dict[str, Any], network: nn.Module, optimizer: Any, scheduler: Any
    ) -> None:
        self.folder, self.config = folder, config
        self.parts = {"network": network, "optimizer": optimizer, "scheduler": scheduler}
        self.saved = time.perf_counter()

    def age(self) -> float:
        """Seconds since the last checkpoint."""
        return time.perf_counter() - self.saved

    def save(self, progress: Progress) -> None:
        """Write the checkpoint; OSError names the file and says what is left."""
        if self.folder is None:
            return
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {
            "config": self.config,
            "history": progress.history,
            "losses": progress.losses,
            "seconds": progress.elapsed(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "checkpoint.pt", lambda file: torch.save(state, file))
        table = pd.DataFrame(progress.history).drop(columns="theta_layers", errors="ignore")
        csv = table.to_csv(index=False, lineterminator="\n").encode()
        write_whole(self.folder / "metrics.csv", lambda file: file.write(csv))
        self.saved = time.perf_counter()

    def load(self) -> Progress:
        """Restore network, optimizer and schedule in place; nothing where there is no checkpoint.

        Raises:
            ValueError: the checkpoint is of another network, recipe or seed, or of other examples, or is damaged.
            OSError: the file cannot be read now.
            MemoryError: too little memory; of a GPU torch.OutOfMemoryError, torch.AcceleratorError or RuntimeError.
        """
        path = self.folder / "checkpoint.pt" if self.folder else None
        if path is None or not path.is_file():
            return Progress()
        content = io.BytesIO(path.read_bytes())  # so that an error of the disk is not taken for one of the content
        try:
            state = torch.load(content, map_location="cpu", weights_only=True)  # a GPU would hold it all twice
            if changed := list(_changed(state["config"], self.config)):
                raise ValueError(f"it was made with {', '.join(changed)}")
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
        except (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:  # torch raises many kinds for a file that it did not write
            if "out of memory" in str(error):  # Apple's GPUs say it in a RuntimeError
                raise
            text = f"no {error} in it" if isinstance(error, KeyError) else str(error) or type(error).__name__
            why = " ".join(text.split()).partition(". ")[0]  # on one line, less torch's advice
            raise ValueError(f"{path} is not a checkpoint of this run ({why}); delete it to start anew") from error
        device = next(self.parts["network"].parameters()).device
        return Progress(state["history"], [loss.to(device) for loss in state["losses"]], state["seconds"])


def _changed(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Say what differs; of a network, which is many lines, the first that does."""
    for key in [*before, *(k for k in now if k not in before)]:
        old, new = before.get(key), now.get(key)
        if old != new and key == "network":
            pairs = zip_longest(str(old).splitlines(), str(new).splitlines(), fillvalue="")
            old, new = next((a.strip(), b.strip()) for a, b in pairs if a != b)
        if old != new:
            yield f"{key}={old!r}, not {new!r}"


def save_weights(network: nn.Module, path: Path, dtype: torch.dtype | None = None) -> None:
    """Write the weights of a network as safetensors, whole or not at all.

    Args:
        network: its `state_dict` is written.
        path: the file.
        dtype: of all floating-point values in the file, by default their own.

    Raises:
        ValueError: ``dtype`` cannot hold a value.
        OSError: the file cannot be written; the one before is kept.
    """
    weights = {}
    for name, value in network.state_dict().items():
        kept = (value.to(dtype) if dtype and value.is_floating_point() else value).contiguous()
        if not torch.equal(kept.isfinite(), value.isfinite()):
            raise ValueError(f"dtype={dtype}; allowed: one that holds every value, which this does not in {name}")
        weights[name] = kept
    write_whole(path, lambda file: file.write(save(weights)))


STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, what a queue sends before it ends a job, and what a terminal sends when it is closed (Windows sends none)."""


def handle_stops(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Let a handler hear `STOP_SIGNALS`, and return the handlers before it, to be put back.

    A signal that is ignored, as SIGHUP is under ``nohup``, stays ignored.

    Raises:
        ValueError: not in the main thread, where signals do not arrive.
    """
    kept = (signal.SIG_IGN, None)  # None: set by what is not Python, which could not be put back
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) not in kept]
    return {number: signal.signal(number, handler) for number in heard}


def tell_stop(text: str) -> None:
    """Write a line from a handler of signals: the terminal may be gone, or the signal may have cut into a write."""
    with suppress(OSError, RuntimeError):
        tqdm.write(text, file=sys.stderr)


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Set an event at the first of `STOP_SIGNALS`, so that a step is never left half done; a second one stops."""
    stop, before = threading.Event(), {}

    def note(number: int, frame: Any) -> None:
        stop.set()
        restore()
        tell_stop("stopping after this update; once more to go back to the last checkpoint")

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    with suppress(ValueError):  # outside the main thread there is nothing to hear
        before = handle_stops(note)
    try:
        yield stop
    finally:
        restore()
