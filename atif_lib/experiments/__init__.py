"""The experiments of the book by name, and what runs them."""

from atif_lib.experiments.registry import CHANGES, EXPERIMENTS, find

__all__ = ["CHANGES", "EXPERIMENTS", "find"]
