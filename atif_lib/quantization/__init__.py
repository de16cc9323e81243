"""Spiking neurons as quantizers: Eqs 2-8 and 14-19 as pure functions, and how good their staircases can be."""

from atif_lib.quantization.density import Optimum, gaussian_sqnr_db, maximise_sqnr
from atif_lib.quantization.nonuniform import (
    thresholds_from_steps,
    thresholds_from_transitions,
    transitions_from_thresholds,
)
from atif_lib.quantization.uniform import (
    ErrorParts,
    spike_counts,
    split_error,
    sqnr_db,
    staircase,
    uniform_staircase,
)

__all__ = [
    "ErrorParts",
    "Optimum",
    "gaussian_sqnr_db",
    "maximise_sqnr",
    "spike_counts",
    "split_error",
    "sqnr_db",
    "staircase",
    "thresholds_from_steps",
    "thresholds_from_transitions",
    "transitions_from_thresholds",
    "uniform_staircase",
]
