"""What the staircases of Figs 1, 2 and 4 and Eqs 6, 7, 11 and 14-19 imply, each as one number (`toy-staircase`).

No training and no sampling: inputs lie on a grid of binary fractions, on which the paper's thresholds and biases are
exact. Most numbers are distances from what the paper states, so that 0 means agreement.
"""

import math
import re
from typing import Any

import torch
from torch import Tensor

from atif_lib.data import speech
from atif_lib.quantization.chains import realise_in_order
from atif_lib.quantization.density import GAUSSIAN, LAPLACE, gaussian_sqnr_db, maximise_sqnr
from atif_lib.quantization.families import ladder
from atif_lib.quantization.lloyd_max import lloyd_max, lloyd_max_free
from atif_lib.quantization.nonuniform import Form, thresholds_from_transitions
from atif_lib.quantization.realisable import best_of_families, best_realisable, shares
from atif_lib.quantization.uniform import spike_counts, staircase, uniform_staircase

GRID = torch.arange(-1024, 3 * 1024 + 1, dtype=torch.float64) / 1024  # inputs from -1 to 3
BELOW_ONE = (GRID >= 0) & (GRID < 1)
FIG_4_P = (1.0, 0.5, 0.25, 0.125)  # p_1 ... p_4: one that both forms of the thresholds realise exactly


def staircase_facts() -> dict[str, float]:
    """Return every number below under its name; deterministic, about a second."""
    return {**figure_1_facts(), **figure_2_facts(), **equation_facts(), **reset_facts(), **nonuniform_facts()}


def transitions(counts: Tensor) -> Tensor:
    """Return the inputs of `GRID` at which `counts` steps up, a double step twice."""
    return GRID[1:].repeat_interleave(counts.diff().clamp(min=0))


def _counts(currents: Tensor, threshold: float, timesteps: int) -> Tensor:
    """Count the spikes of a neuron that runs, for no fact to be held against the formula that it comes from."""
    return spike_counts(currents, torch.full((timesteps,), threshold, dtype=torch.float64))


def figure_1_facts(timesteps: int = 8) -> dict[str, float]:
    """Levels, and the largest distance of slope, saturation, step and shift by a bias from what Fig. 1 shows."""
    slope, saturation, step, shift = [], [], [], []
    for threshold in (0.75, 1.0, 1.25):
        counts = _counts(GRID, threshold, timesteps)
        edges = transitions(counts)
        rise = (timesteps - 1) / timesteps  # of the rate, from the first transition to the last
        slope.append(abs(rise / (edges[-1] - edges[0]).item() * threshold - 1))
        saturation.append((edges[-1] - threshold).abs().item())
        step.append((edges.diff() - threshold / timesteps).abs().max().item())
    middle = transitions(_counts(GRID, 1.0, timesteps))
    for bias in (0.25, -0.25):
        moved = transitions(_counts(GRID + bias, 1.0, timesteps))
        shift.append((moved - (middle - bias)).abs().max().item())
    return {
        "levels": _counts(GRID, 1.0, timesteps).unique().numel(),
        "slope_error": max(slope),
        "saturation_error": max(saturation),
        "step_error": max(step),
        "bias_shift_error": max(shift),
    }


def figure_2_facts(timesteps: int = 8) -> dict[str, float]:
    """Largest error up to V_th = 1, and how fast the error grows with the input beyond it."""
    error = GRID - _counts(GRID, 1.0, timesteps) / timesteps
    beyond = error[GRID >= 1].diff() / GRID[GRID >= 1].diff()
    return {
        "granular_error": error[(GRID >= 0) & (GRID <= 1)].abs().max().item(),
        "overload_growth": beyond.min().item(),
    }


def equation_facts(timesteps: int = 8) -> dict[str, float]:
    """Eq. 7 without and with floor and clip, Eq. 6 for large T, Eq. 11 before and after a spike, in two readings."""
    counts = _counts(GRID, 1.0, timesteps)
    printed = (timesteps * GRID).clamp(max=timesteps)
    inputs = GRID[BELOW_ONE]
    return {
        "eq7_printed_error": (counts - printed).abs().max().item(),
        "eq7_clipped_mismatches": int((counts != printed.floor().clamp(min=0)).sum()),
        "rate_error_t1000": (staircase(inputs, 1.0, 1000) / 1000 - inputs).abs().max().item(),
        "rate_error_t1000_half_threshold": (staircase(inputs / 2, 0.5, 1000) / 1000 - inputs / 2).abs().max().item(),
        "eq11_before_spike": _dq_dthreshold(0.6)[1],
        "eq11_after_spike": _dq_dthreshold(0.6)[3],
        "eq11_after_spike_without_reset": _dq_dthreshold(0.6, detach="reset")[3],
    }


def _dq_dthreshold(current: float, timesteps: int = 4, detach: str = "spike") -> list[float]:
    """Differentiate q = H(t) - V_th by V_th for t = 1 ... T; of the reset only the spike is held, or all of it."""
    threshold = torch.ones((), dtype=torch.float64, requires_grad=True)
    v, slopes = threshold * 0, []
    for _ in range(timesteps):
        h = v + current
        q = h - threshold
        slopes.append(torch.autograd.grad(q, threshold, retain_graph=True)[0].item())
        reset = threshold * (q.detach() >= 0)
        v = h - (reset.detach() if detach == "reset" else reset)
    return slopes


def reset_facts(timesteps: int = 4) -> dict[str, float]:
    """SQNR that the soft reset gains over the reset to zero, each at its best threshold, for a Gaussian input.

    Under a constant current i the hard reset fires every ceil(V_th / i) timesteps: c times from V_th / floor(T / c).
    """
    count = torch.arange(1, timesteps + 1, dtype=torch.float64)
    hard = 1 / (timesteps / count).floor()
    best = {
        name: max(gaussian_sqnr_db(edges * v, count / timesteps * v).item() for v in torch.arange(0.5, 5, 0.005))
        for name, edges in {"soft": count / timesteps, "hard": hard}.items()
    }
    return {"soft_over_hard_reset_db": best["soft"] - best["hard"]}


def nonuniform_facts() -> dict[str, float]:
    """Distance of the transitions from the intended p (T = 4): uniform p in both forms, and the p of Fig. 4."""
    uniform = (1.0, 0.75, 0.5, 0.25)
    return {
        "eq19_printed_error": _transition_error(uniform, "printed"),
        "eq19_telescoping_error": _transition_error(uniform, "telescoping"),
        "fig4_transition_error": _transition_error(FIG_4_P, "telescoping"),
        "fig4_step_ratio": max(_steps(FIG_4_P)) / min(_steps(FIG_4_P)),
    }


def _steps(p: tuple[float, ...]) -> list[float]:
    return [high - low for high, low in zip(p, (*p[1:], 0.0), strict=True)]


def _transition_error(p: tuple[float, ...], form: Form) -> float:
    """Largest distance between p and the inputs at which the neuron's count steps up; 0 within half a grid step."""
    thresholds = thresholds_from_transitions(torch.tensor(p, dtype=torch.float64), form)
    edges = transitions(spike_counts(GRID, thresholds))
    return (edges - torch.tensor(sorted(p), dtype=torch.float64)).abs().max().item()


def ordered(w: Tensor) -> Tensor:
    """Return increasing positive transitions from any real parameters, as running sums of their exponentials."""
    return w.exp().flip(-1).cumsum(-1)


def analysis_facts(timesteps: int = 4, sigma: float = 0.1) -> dict[str, Any]:
    """Return the SQNR of the best staircases of each family for N(0, sigma^2), by exact integrals (`toy-analysis`)."""
    k = torch.arange(1, timesteps + 1, dtype=torch.float64)
    one, rungs = torch.ones((), dtype=torch.float64), ladder(GAUSSIAN, timesteps)
    uniform, half_step = rungs["uniform"], rungs["uniform, half-step start"]
    rate_p1 = rungs["non-uniform, rate · p1"]
    transition = maximise_sqnr(lambda w: (ordered(w), ordered(w)), [0.0] * timesteps)
    unscaled = [gaussian_sqnr_db(k * v / timesteps, k / timesteps, sigma) for v in torch.arange(0.01, 10, 0.01)]
    return {
        "fixed_db": gaussian_sqnr_db(*uniform_staircase(one, timesteps), sigma).item(),
        "fixed_t20_db": gaussian_sqnr_db(*uniform_staircase(one, 20), sigma).item(),
        "sigma_threshold_db": gaussian_sqnr_db(*uniform_staircase(one, timesteps)).item(),
        "uniform_optimum_db": uniform.sqnr_db,
        "uniform_optimum_over_sigma": uniform.levels[-1].item(),
        "half_step_optimum_db": half_step.sqnr_db,
        "half_step_optimum_over_sigma": half_step.levels[-1].item(),
        "decode_gain_optimum_db": rungs["uniform, decode gain"].sqnr_db,
        "nonuniform_rate_p1_optimum_db": rate_p1.sqnr_db,
        "nonuniform_rate_p1_optimum_over_sigma": rate_p1.transitions.tolist(),
        "nonuniform_rate_p1_first_over_mean_step": (
            timesteps * rate_p1.transitions[0] / rate_p1.transitions[-1]
        ).item(),
        "nonuniform_transition_optimum_db": transition.sqnr_db,
        "lloyd_max_db": lloyd_max(GAUSSIAN, timesteps).sqnr_db,
        "rate_unscaled_best_db": max(unscaled).item(),
        "fraction_in_0_2sigma": math.erf(2 / 2**0.5),
        "fraction_of_all_in_0_2sigma": math.erf(2 / 2**0.5) / 2,
        "uniform_optimum_spikes": _expected_spikes(uniform.transitions),
        "nonuniform_rate_p1_optimum_spikes": _expected_spikes(rate_p1.transitions),
        "half_step_optimum_spikes": _expected_spikes(half_step.transitions),
    }


def _expected_spikes(edges: Tensor) -> float:
    """Mean count of a staircase for a Gaussian current of unit variance: the sum of P(i >= t_k)."""
    return torch.special.ndtr(-edges).sum().item()


def frame_facts() -> dict[str, int]:
    """Frames of features in a second of sound, in three readings of the sizes that Section 4.1 prints (`gsc-features`).

    As computed here, with a frame of the FFT; with one of the window; and with 320 samples of padding in all.
    """
    size, window, hop, pad = (speech.SPECTRUM[key] for key in ("n_fft", "win_length", "hop_length", "pad"))
    return {
        "frames": speech.mfcc(torch.zeros(1, speech.SAMPLE_RATE)).shape[1],
        "frames_of_the_window": 1 + (speech.SAMPLE_RATE + 2 * pad - window) // hop,
        "frames_with_half_the_padding": 1 + (speech.SAMPLE_RATE + pad - size) // hop,
    }


def ladder_facts(largest: int = 16) -> dict[str, list[float]]:
    """Return the SQNR of every rung for T = 1 ... ``largest``, Gaussian and Laplace (`limits-ladder`)."""
    facts: dict[str, list[float]] = {}
    for prefix, density in {"": GAUSSIAN, "laplace_": LAPLACE}.items():
        for timesteps in range(1, largest + 1):
            best = ladder(density, timesteps)
            dbs = {name: o.sqnr_db for name, o in best.items()} | {"Lloyd-Max": lloyd_max(density, timesteps).sqnr_db}
            dbs["Lloyd-Max, all levels free"] = lloyd_max_free(density, timesteps).sqnr_db
            dbs["half step over uniform"] = dbs["uniform, half-step start"] - dbs["uniform"]
            dbs["half step over uniform, affine"] = (
                dbs["half-step start, affine decode"] - dbs["uniform, affine decode"]
            )
            dbs["Lloyd-Max over half step"] = dbs["Lloyd-Max"] - dbs["uniform, half-step start"]
            for name, db in dbs.items():
                facts.setdefault(prefix + re.sub(r"\W+", "_", name.lower()) + "_db", []).append(db)
    return facts


def realisable_facts(largest: int = 8) -> dict[str, Any]:
    """Return the best SQNR found for T = 1 ... ``largest`` of each decode, its thresholds, and the shares of random p.

    The record `limits-realisable`; a quarter of an hour.
    """
    facts: dict[str, Any] = {"lloyd_max_db": [lloyd_max(GAUSSIAN, t).sqnr_db for t in range(1, largest + 1)]}
    for (decode, free), best in best_of_families(largest).items():
        name = decode + ("_free_start" if free else "")
        facts[f"{name}_db"] = [b.sqnr_db for b in best]
        facts[f"{name}_thresholds"] = [b.thresholds.tolist() for b in best]
        facts[f"{name}_start"] = [b.initial for b in best]
        facts[f"{name}_hits"] = [b.hits for b in best]
    gap = zip(facts["lloyd_max_db"], facts["levels_db"], strict=True)
    facts["largest_gap_db"] = max(limit - reached for limit, reached in gap)
    facts["lloyd_max_orders"] = [_order_of_lloyd_max(t) for t in range(1, 14)]
    for timesteps, draws in ((2, 200_000), (3, 200_000), (4, 50_000), (5, 20_000)):
        facts[f"shares_t{timesteps}"] = shares(timesteps, draws)
    return facts


def count_facts(first: int = 9, last: int = 11) -> dict[str, Any]:
    """Return how far below the Lloyd-Max quantizer a count ends for T that have no order for it (`limits-counts`).

    One search for each T with few candidates; what it finds is a lower bound. About half a minute.
    """
    found = [best_realisable(t, "levels", restarts=1, population=30 if t > 10 else 12) for t in range(first, last + 1)]
    gaps = [lloyd_max(GAUSSIAN, t).sqnr_db - best.sqnr_db for t, best in enumerate(found, first)]
    return {
        "timesteps": list(range(first, last + 1)),
        "gap_db": gaps,
        "largest_gap_db": max(gaps),
        "thresholds": [best.thresholds.tolist() for best in found],
    }


def _order_of_lloyd_max(timesteps: int) -> list[int]:
    """Return an order of the timesteps that makes the Lloyd-Max staircase; empty where there is none."""
    found = realise_in_order(lloyd_max(GAUSSIAN, timesteps).transitions)
    return list(found[0]) if found else []
