r"""Thresholds that change with the timestep: Eqs 14-19 of the paper as pure functions, for any T.

The paper chooses inputs :math:`p_1 > p_2 > \dots > p_T > 0` at which the spike count is meant to step up, and solves
for the threshold of each timestep. Whether the count then does step up there is for
:mod:`atif_lib.quantization.staircases` to say.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from atif_lib import checks

__all__ = [
    "Form",
    "thresholds_from_steps",
    "thresholds_from_transitions",
    "transitions_from_steps",
    "transitions_from_thresholds",
]

Form = Literal["telescoping", "printed"]


def thresholds_from_steps(steps: Tensor, form: Form = "telescoping") -> Tensor:
    r"""Return the thresholds for given distances between the intended transitions.

    With steps :math:`e_k = p_k - p_{k+1}` (and :math:`e_T = p_T`) the telescoping form solves the last line of Eqs 16
    and 18 for the threshold:

    .. math:: V_{p_1} = p_1 = \sum_k e_k, \qquad V_{p_k} = T e_k \quad (k > 1)

    The printed form, for T = 4 only, differs in :math:`V_{p_2} = (T-1) p_2 - T (p_3 - p_4)` (Eq. 19). It can fall below
    zero; it is held at a hundredth of :math:`p_1`.

    Args:
        steps: the distances, positive (not looked at: neurons ask at every pass), shape [T] or [T, C]; the unit is
            that of the input current.
        form: ``'telescoping'`` or ``'printed'``.

    Returns:
        Thresholds in the order of the timesteps, of the shape of ``steps``. Differentiable.

    Raises:
        ValueError: another form, or ``'printed'`` with T other than 4.

    Source: Eqs 14-19.
    """
    checks.choice("form", form, get_args(Form))
    timesteps = len(steps)
    if form == "printed" and timesteps != 4:
        raise ValueError(f"form='printed' with {timesteps} timesteps; allowed: 4, for which the paper gives it")
    p = transitions_from_steps(steps)
    thresholds = torch.cat([p[:1], timesteps * steps[1:]])
    if form == "printed":
        second = torch.maximum(3 * p[1] - 4 * (p[2] - p[3]), p[0] / 100)  # Eq. 19
        thresholds = torch.cat([thresholds[:1], second.unsqueeze(0), thresholds[2:]])
    return thresholds


def transitions_from_steps(steps: Tensor) -> Tensor:
    r"""Return :math:`p_k = \sum_{j \ge k} e_j`, shape [T] or [T, C], for distances :math:`e_j` of the same shape."""
    return steps.flip(0).cumsum(0).flip(0)


def thresholds_from_transitions(p: Tensor, form: Form = "telescoping") -> Tensor:
    """Return the thresholds for intended transitions, by :func:`thresholds_from_steps`.

    Args:
        p: :math:`p_1 > p_2 > ... > p_T > 0`, shape [T] or [T, C], in the unit of the input current.
        form: ``'telescoping'`` or ``'printed'``.

    Returns:
        Thresholds in the order of the timesteps, of the shape of ``p``.

    Raises:
        ValueError: transitions that do not fall or are not positive; a form as for :func:`thresholds_from_steps`.

    Source: Eqs 14-19.
    """
    steps = p - torch.cat([p[1:], torch.zeros_like(p[:1])])
    if not (steps > 0).all():
        raise ValueError(f"p={p.tolist()}; allowed: positive numbers, each less than the one before")
    return thresholds_from_steps(steps, form)


def transitions_from_thresholds(thresholds: Tensor) -> Tensor:
    r"""Return the intended transitions of given thresholds: the inverse of the telescoping form.

    .. math:: p_1 = V_{p_1}, \qquad p_k = \frac1T \sum_{j \ge k} V_{p_j} \quad (k > 1)

    Args:
        thresholds: in the order of the timesteps, shape [T] or [T, C].

    Returns:
        The transitions, of the shape of ``thresholds``; they fall if :math:`V_{p_1}` is more than :math:`p_2`.

    Source: Eqs 14-19.
    """
    return torch.cat([thresholds[:1], transitions_from_steps(thresholds / len(thresholds))[1:]])
