"""What an experiment is: configuration with one way to run it, and what a run is given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from atif_lib.data.storage import Examples
from atif_lib.results.records import Draft

__all__ = ["Context", "Experiment"]


@dataclass(frozen=True)
class Context:
    """What a run is given, and where it puts what it finds.

    Args:
        draft: of the record; the run fills in its epochs and its result.
        seed: of all that is drawn.
        folder: for checkpoints and weights, of experiments that train a network.
        resume: go on from the checkpoint in ``folder``, if there is one.
        start: file of the weights that the network starts with.
        examples: the data, where it is loaded already; else the run loads it.
    """

    draft: Draft
    seed: int = 0
    folder: Path | None = None
    resume: bool = False
    start: Path | None = None
    examples: Examples | None = None


class Experiment(Protocol):
    """A dataclass of configuration, which the record keeps, with a method that runs it."""

    @property
    def summary(self) -> str:
        """What it is, in one line."""
        ...

    @property
    def profiles(self) -> tuple[str, ...]:
        """Profiles that it has; the last is that of its results."""
        ...

    def at(self, profile: str) -> Self:
        """Return the experiment at the size of a profile."""
        ...

    def run(self, context: Context) -> None:
        """Run, and fill in the draft of the record."""
        ...
