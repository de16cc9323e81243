"""Training: hyperparameters, batches, the loop, checkpoints, tests, and what tells why a network errs."""

from atif_lib.training.loop import schedule, train
from atif_lib.training.recipe import Recipe

__all__ = ["Recipe", "schedule", "train"]
