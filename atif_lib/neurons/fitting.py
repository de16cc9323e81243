"""Fit one neuron to a density: the toy problem of Sections 3.3 and 3.4."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from spikingjelly.activation_based import functional
from torch import Tensor
from torch.distributions import Distribution
from tqdm import tqdm

from atif_lib import checks
from atif_lib.neurons.soft_reset import SoftResetNode
from atif_lib.quantization.uniform import sqnr_db

__all__ = ["expected_sqnr_db", "fit_neuron"]


def fit_neuron(
    neuron: SoftResetNode,
    density: Distribution,
    *,
    target: Literal["relu", "input"] = "relu",
    steps: int = 5000,
    batch_size: int = 1024,
    lr: float = 1e-3,
    seed: int = 0,
    log_every: int = 100,
) -> Iterator[dict[str, Any]]:
    r"""Learn the thresholds of one neuron from random input, and say how it goes.

    .. math:: L(i, \hat y) = E[(x - \hat y)^2]

    Args:
        neuron: one of :mod:`atif_lib.neurons` in step mode ``'m'``.
        density: distribution of the constant input current.
        target: what the decoded spikes are compared with: ``'relu'`` is x = ReLU(i), ``'input'`` is x = i, negative
            currents included, as Eq. 13 is printed.
        steps: Adam updates, one batch each.
        batch_size: currents drawn for an update.
        lr: Adam's learning rate; the paper's is 1e-3.
        seed: of the draws.
        log_every: updates between two reports.

    Yields:
        A dictionary of step, sqnr_db (exact to the grid of :func:`expected_sqnr_db`) and thresholds, from step 0.

    Raises:
        ValueError: ``target`` is neither of the two; the neuron is in step mode ``'s'``; fewer than 0 steps, an empty
            batch, or less than 1 update between two reports.

    Source: Section 3.3.
    """
    checks.choice("target", target, ("relu", "input"))
    steps, batch_size = checks.integer("steps", steps, least=0), checks.integer("batch_size", batch_size)
    log_every = checks.integer("log_every", log_every)
    generator = torch.Generator().manual_seed(seed)
    parameters = list(neuron.parameters())
    optimizer = torch.optim.Adam(parameters, lr=lr) if parameters else None
    for step in tqdm(range(steps + 1), desc="fit", leave=False, disable=None):
        if step % log_every == 0 or step == steps:
            yield {
                "step": step,
                "sqnr_db": expected_sqnr_db(neuron, density),
                "thresholds": neuron.thresholds.flatten().tolist(),
            }
        if optimizer is None or step == steps:
            continue
        i = density.icdf(torch.rand(batch_size, generator=generator, dtype=torch.float64)).float()
        i = i.to(neuron.thresholds.device)
        x = i.relu() if target == "relu" else i
        loss = (x - _respond(neuron, i)).square().mean()  # Eq. 13
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def expected_sqnr_db(neuron: SoftResetNode, density: Distribution, points: int = 20001) -> float:
    """SQNR of a neuron in dB (Eq. 8) for x = ReLU(i), over evenly spaced quantiles of the density of i.

    Raises:
        ValueError: the neuron is in step mode ``'s'``, or ``points`` is no integer of 1 or more.
    """
    points = checks.integer("points", points)
    i = density.icdf((torch.arange(points, dtype=torch.float64) + 0.5) / points).float().to(neuron.thresholds.device)
    return sqnr_db(i.relu(), _respond(neuron, i)).item()


def _respond(neuron: SoftResetNode, i: Tensor) -> Tensor:
    """Return the decoded answer to the constant currents i."""
    if neuron.step_mode != "m":  # all timesteps would pass for one
        raise ValueError(f"neuron with step_mode={neuron.step_mode!r}; allowed: 'm', all timesteps in one call")
    functional.reset_net(neuron)
    return neuron.decode(neuron(i.expand(neuron.timesteps, *i.shape)))
