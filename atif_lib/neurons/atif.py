"""Integrate-and-fire neurons with soft reset whose threshold is fixed, learned, or learned for each timestep.

All three are one neuron (Eqs 2-5) with another law for its threshold. They are SpikingJelly nodes: see
:class:`IF` for which of its tools take them.
"""

import math
from numbers import Real
from typing import Literal

import torch
from torch import Tensor, nn

from atif_lib.neurons.soft_reset import SoftResetNode
from atif_lib.quantization.nonuniform import (
    Form,
    thresholds_from_steps,
    transitions_from_steps,
    transitions_from_thresholds,
)
from atif_lib.quantization.staircases import safe_thresholds

__all__ = ["IF", "ATIFnu", "ATIFu", "SafeATIFnu"]

# Learned thresholds and steps live between these, whatever an optimiser does to their logarithm.
_SMALLEST, _LARGEST = 1e-6, 1e6


class IF(SoftResetNode):
    r"""Integrate-and-fire neuron with soft reset and a fixed threshold.

    .. math:: H(t) = V(t-1) + i(t), \quad z(t) = \Theta(H(t) - V_{th}), \quad V(t) = H(t) - V_{th}\, z(t)

    Input [T, N, *] in step mode ``'m'``, [N, *] in ``'s'``; output spikes in {0, 1} of the same shape and dtype. The
    membrane is kept in the wider of the input's and the threshold's dtype.

    Args:
        timesteps: T, at least 1.
        threshold: :math:`V_{th}` in the unit of the input current, positive; a tensor of shape [C] gives each
            channel (dimension 1 of [N, C, *]) its own.
        v0: membrane potential before the first timestep, as a fraction of the first threshold, in [0, 1].
        learn_v0: learn that fraction, as the sigmoid of a parameter that starts at ``v0``, which must then be neither
            0 nor 1.
        charge: put out :math:`V_{th}(t)\, z(t)`, the charge that a spike takes from the membrane, in place of z(t);
            :func:`atif_lib.networks.folding.fold` moves it into the next layer's weights, so that spikes stay binary.
        surrogate: argument of the surrogate derivative :math:`\alpha \sigma'(\alpha q)` of the step (Eq. 10):
            ``'absolute'`` is the paper's :math:`q = H - V_{th}`, ``'relative'`` is :math:`q = H / V_{th} - 1`.
            ``'rate'`` is the straight-through gradient of the rate by the mean current instead; no gradient flows
            through time (as in Meng et al. 2022).
        slope: :math:`\alpha` of the surrogate, per unit of its argument; the paper's is 1. ``'rate'`` has none.
        detach_reset: keep the reset out of the gradient.
        step_mode: SpikingJelly's ``'s'`` (one timestep a call) or ``'m'`` (all of them).
        store_v_seq: keep the membranes behind all timesteps, [T, N, *], in ``v_seq``, as SpikingJelly's nodes do.

    What works: step modes, ``functional.reset_net``, monitors, ``op_counter`` with ``SimpleEnergyProfiler``, and
    ``memopt`` of SpikingJelly; ``torch.compile``, ``torch.export`` and ``torch.onnx.export``.

    What does not, and says so: NIR export, because NIR has no soft reset; ``torch.utils.checkpoint``, which calls a
    neuron again in another state (use ``memopt`` or :func:`atif_lib.training.execution.save_memory`); the energy
    models of Lemaire, SpikeSim and NeuroMC, which know SpikingJelly's own nodes only. A neuron that
    :func:`atif_lib.training.execution.compile_neurons` has fused keeps no membrane: count the energy of a network
    inside :func:`atif_lib.networks.unfused`.

    Raises:
        ValueError: an argument outside its range, a threshold with a gradient; on a call, another number of timesteps,
            an input that is empty, that is not finite (on an accelerator, fused or compiled, nobody looks), or whose
            shape changes before ``functional.reset_net``.
        TypeError: an input that is not floating point.
        NotImplementedError: traced by ``torch.fx``, as NIR export does.

    Source: Eqs 2-5.
    """

    threshold: Tensor

    def begin_with(self, threshold: float | Tensor) -> None:
        """Keep the threshold as a buffer."""
        self.register_buffer("threshold", _positive("threshold", threshold))

    @property
    def thresholds(self) -> Tensor:
        """The fixed threshold at every timestep, shape [T] or [T, C]."""
        return self.threshold.expand(self.timesteps, *self.threshold.shape)


class ATIFu(SoftResetNode):
    r"""Adaptive-threshold integrate-and-fire neuron, uniform: the threshold is learned.

    .. math:: V_{th} = e^{w}, \qquad \frac{\partial L}{\partial V_{th}} = \sum_t \frac{\partial L}{\partial z(t)}
        \frac{\partial z(t)}{\partial V_{th}}

    with the surrogate derivative of :class:`IF` for the step. Learning the logarithm keeps the threshold positive. The
    paper's own surrogate is ``surrogate='absolute', slope=1``; Chapter 3 says why the default is another. Eq. 11 to the
    letter is :class:`atif_lib.experiments.one_neuron.Eq11`. Input and output have the shapes of those of :class:`IF`.

    Args:
        timesteps: T, at least 1.
        threshold: initial :math:`V_{th}` in the unit of the input current. It always stays from 1e-6 to 1e6. A tensor
            of shape [C] makes one for each channel.
        v0, learn_v0, charge, surrogate, slope, detach_reset, step_mode, store_v_seq: as for :class:`IF`.

    Raises:
        ValueError, TypeError: as for :class:`IF`.

    Source: Eqs 9-12.
    """

    def begin_with(self, threshold: float | Tensor) -> None:
        """Make a parameter of the threshold's logarithm."""
        self.log_threshold = nn.Parameter(learned_log(threshold))

    @property
    def thresholds(self) -> Tensor:
        """The learned threshold at every timestep, shape [T] or [T, C]."""
        return bounded_exp(self.log_threshold).expand(self.timesteps, *self.log_threshold.shape)


class ATIFnu(SoftResetNode):
    r"""Adaptive-threshold integrate-and-fire neuron, non-uniform: one learned threshold for each timestep.

    The parameters are the inputs :math:`p_1 > p_2 > \dots > p_T > 0` at which the count is meant to step up. They
    are running sums of positive steps, so that no update can break their order:

    .. math:: p_k = \sum_{j=k}^{T} e^{w_j}

    and the thresholds follow from the steps by :func:`atif_lib.quantization.thresholds_from_steps`.

    Args:
        timesteps: T, at least 1.
        threshold: initial :math:`p_1`; the p start evenly spaced, with steps from 1e-6 to 1e6, where they then stay.
            A tensor of shape [C] makes p for each channel.
        form: ``'telescoping'`` or ``'printed'``.
        v0, learn_v0, charge, surrogate, slope, detach_reset, step_mode, store_v_seq: as for :class:`IF`.

    Raises:
        ValueError, TypeError: as for :class:`IF`; ``surrogate='rate'``; ``form='printed'`` with T other than 4.

    Source: Eqs 14-19.
    """

    def __init__(
        self,
        timesteps: int = 4,
        threshold: float | Tensor = 1.0,
        *,
        form: Form = "telescoping",
        v0: float = 0.0,
        learn_v0: bool = False,
        charge: bool = False,
        surrogate: Literal["relative", "absolute"] = "relative",
        slope: float = 4.0,
        detach_reset: bool = False,
        step_mode: Literal["s", "m"] = "s",
        store_v_seq: bool = False,
    ) -> None:
        super().__init__(
            timesteps,
            threshold,
            v0=v0,
            learn_v0=learn_v0,
            charge=charge,
            surrogate=surrogate,
            slope=slope,
            detach_reset=detach_reset,
            step_mode=step_mode,
            store_v_seq=store_v_seq,
        )
        if self.surrogate == "rate":
            raise ValueError("surrogate='rate'; allowed: 'relative', 'absolute', for ATIFnu has T thresholds, not one")
        self.form: Form = form
        thresholds_from_steps(self.log_steps.detach(), form)  # refuses a form that there is not

    def begin_with(self, threshold: float | Tensor) -> None:
        """Make parameters of the logarithms of T equal steps."""
        log_step = learned_log(threshold, steps=self.timesteps)
        self.log_steps = nn.Parameter(log_step.expand(self.timesteps, *log_step.shape).clone())

    @property
    def p(self) -> Tensor:
        """Intended transitions :math:`p_1 > ... > p_T`, shape [T] or [T, C]."""
        return transitions_from_steps(bounded_exp(self.log_steps))

    def extra_repr(self) -> str:
        """Options, as they show in ``print(network)``."""
        return f"{super().extra_repr()}, form={self.form!r}"

    @property
    def thresholds(self) -> Tensor:
        """Thresholds :math:`V_{p_1}, ..., V_{p_T}` in the order of the timesteps, shape [T] or [T, C]."""
        return thresholds_from_steps(bounded_exp(self.log_steps), self.form)


class SafeATIFnu(SoftResetNode):
    r"""ATIF-nu, T = 4, whose thresholds never leave the region where the count steps up at the intended transitions.

    Its five parameters are those of :func:`atif_lib.quantization.staircases.safe_thresholds`, held within bounds: any
    value is safe. The neuron starts close to the uniform one, whose thresholds lie on the region's edge.

    Args:
        timesteps: T, which must be 4.
        threshold: initial :math:`V_{th}(4)`, one number from 1e-6 to 1e6; :math:`V_{th}(1)` starts 12 % above it.
        v0: 0, since the region is that of V(0) = 0.
        learn_v0: False, for the same reason.
        surrogate: ``'relative'`` or ``'absolute'``.
        charge, slope, detach_reset, step_mode, store_v_seq: as for :class:`IF`.

    Raises:
        ValueError, TypeError: as for :class:`IF`; T other than 4, another ``v0``, ``surrogate='rate'``, a threshold for
            each channel.

    Source: the book, "What T thresholds can realise"; not in the paper.
    """

    def begin_with(self, threshold: float | Tensor) -> None:
        """Make the five parameters; refuse what has no such region."""
        if self.timesteps != 4 or self.v0 or self.surrogate == "rate":
            raise ValueError(
                f"timesteps={self.timesteps}, v0={self.v0}, surrogate={self.surrogate!r}; "
                "allowed: 4, 0, 'relative' or 'absolute'"
            )
        log = learned_log(threshold)
        if log.dim():
            raise ValueError(f"threshold={log.exp().tolist()}; allowed: one positive number for the whole layer")
        start = log.new_tensor([-3.0, -3.0, 0.0, 0.0, -3.0])  # nearly the corner V_2 = V_3 = V_4, and V_1 just above
        start[3:] += log
        self.region = nn.Parameter(start)

    @property
    def thresholds(self) -> Tensor:
        """Thresholds in the order of the timesteps, shape [4]."""
        lowest = math.log(_SMALLEST) - 3  # where V_1 - V_2 starts for the smallest threshold
        return safe_thresholds(_within(self.region, lowest, math.log(_LARGEST)))

    @property
    def p(self) -> Tensor:
        """Transitions :math:`p_1 > ... > p_4` that the thresholds realise, shape [4]."""
        return transitions_from_thresholds(self.thresholds)


def _positive(name: str, value: float | Tensor) -> Tensor:
    if isinstance(value, Tensor) and value.requires_grad:
        raise ValueError(
            f"{name}={value.tolist()} with a gradient; allowed: a value without one, which IF keeps fixed; "
            "for a learned threshold use ATIFu or ATIFnu, which make a parameter of their own from it"
        )
    try:
        number = isinstance(value, Real) and not isinstance(value, bool)
        tensor = torch.as_tensor(float(value) if number else value)
        if tensor.dtype == torch.bool or tensor.is_complex():
            raise TypeError
        tensor = tensor.detach().clone()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name}={value!r}; allowed: a positive, finite number, or one for each channel") from None
    # NumPy's numbers have NumPy's default type, float64, and would make a neuron of that type.
    given = isinstance(value, Tensor) and tensor.is_floating_point()
    tensor = tensor if given else tensor.to(torch.get_default_dtype())
    if tensor.dim() > 1 or tensor.numel() == 0 or not (tensor.isfinite() & (tensor > 0)).all():
        raise ValueError(f"{name}={tensor.tolist()}; allowed: a positive, finite number, or one for each channel")
    return tensor


def learned_log(threshold: float | Tensor, steps: int = 1) -> Tensor:
    """Return the logarithm of a threshold, divided by a number of steps, to be made a parameter: shape [] or [C].

    Raises:
        ValueError: it is not positive, has a gradient, or its step is not from 1e-6 to 1e6.
    """
    step = _positive("threshold", threshold) / steps
    if ((step < _SMALLEST) | (step > _LARGEST)).any():
        allowed = f"between {steps * _SMALLEST:g} and {steps * _LARGEST:g}"
        raise ValueError(f"threshold={(steps * step).tolist()}; allowed: {allowed}, to be learned")
    return step.log()


def bounded_exp(w: Tensor) -> Tensor:
    """Return e^w, held from 1e-6 to 1e6, of any shape; beyond the bounds w has a gradient still."""
    return _within(w, math.log(_SMALLEST), math.log(_LARGEST)).exp()


def _within(w: Tensor, least: float, most: float) -> Tensor:
    """Return w within bounds, with a gradient of 1 there too: what has crossed one can come back."""
    w = w.nan_to_num(nan=math.nan, posinf=most, neginf=least)  # infinity has no difference to itself
    return w.detach().clamp(least, most) + (w - w.detach())
