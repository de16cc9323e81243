"""Integrate-and-fire neurons with soft reset whose threshold is fixed, learned, or learned for each timestep.

All three are one neuron (Eqs 2-5) with another law for its threshold. They are SpikingJelly modules: step modes
``'s'`` and ``'m'``, ``functional.reset_net``, monitors and layers work as for SpikingJelly's own nodes.
"""

import math
from typing import Literal

import torch
from spikingjelly.activation_based import base
from spikingjelly.activation_based import surrogate as surrogates
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["IF", "ATIFnu", "ATIFu"]

# Learned thresholds and steps live between these, whatever an optimiser does to their logarithm.
_SMALLEST, _LARGEST = 1e-6, 1e6


class _SoftResetNode(base.MemoryModule):
    """Eqs 2-5 for thresholds that a subclass gives; the arguments are described in :class:`IF`."""

    def __init__(
        self,
        timesteps: int = 4,
        *,
        v0: float = 0.0,
        learn_v0: bool = False,
        charge: bool = False,
        surrogate: Literal["relative", "absolute", "rate"] = "relative",
        slope: float = 4.0,
        detach_reset: bool = False,
        step_mode: Literal["s", "m"] = "s",
    ) -> None:
        super().__init__()
        if not isinstance(timesteps, int) or timesteps < 1:
            raise ValueError(f"timesteps must be an integer of at least 1, got {timesteps!r}")
        if not 0 <= v0 <= 1:
            raise ValueError(f"v0 must be a fraction of the threshold in [0, 1], got {v0}")
        if learn_v0 and not 0 < v0 < 1:
            raise ValueError(f"v0 must be between 0 and 1, both excluded, to be learned, got {v0}")
        if surrogate not in ("relative", "absolute", "rate"):
            raise ValueError(f"surrogate must be 'relative', 'absolute' or 'rate', got {surrogate!r}")
        if not 0 < slope < math.inf:
            raise ValueError(f"slope must be positive and finite, got {slope}")
        self.timesteps, self.charge, self.surrogate, self.detach_reset = timesteps, charge, surrogate, detach_reset
        self._v0 = v0
        self.logit_v0 = nn.Parameter(torch.tensor(v0).logit()) if learn_v0 else None
        self.surrogate_function = surrogates.Sigmoid(alpha=slope)
        self.step_mode = step_mode
        self.register_memory("v", None)  # membrane potential, [N, *]
        self.register_memory("t", 0)  # timesteps since the last reset

    @property
    def v0(self) -> float | Tensor:
        """Membrane potential before the first timestep, as a fraction of the first threshold; a tensor if learned."""
        return self._v0 if self.logit_v0 is None else self.logit_v0.sigmoid()

    @property
    def thresholds(self) -> Tensor:
        """Thresholds :math:`V_{th}(t)`, shape [T], or [T, C] where each channel has its own."""
        raise NotImplementedError

    def single_step_functional_forward(self, inputs: tuple[Tensor], states: tuple) -> tuple[tuple[Tensor], tuple]:
        """One timestep: input [N, *], spikes [N, *]."""
        (z,), states = self.multi_step_functional_forward((inputs[0].unsqueeze(0),), states)
        return (z[0],), states

    def multi_step_functional_forward(self, inputs: tuple[Tensor], states: tuple) -> tuple[tuple[Tensor], tuple]:
        """All timesteps: input [T, N, *], spikes [T, N, *], each worth its charge if that is asked for."""
        (x_seq,), (v, t) = inputs, states
        self._check_input(x_seq, t)
        thresholds = self.thresholds
        x_seq, dtype = x_seq.to(torch.promote_types(x_seq.dtype, thresholds.dtype)), x_seq.dtype
        thresholds = _over_channels(thresholds, x_seq)
        if self.surrogate == "rate":
            rate = _straight_through_rate(x_seq.mean(0), thresholds[0], self.v0, self.timesteps)
            x_seq, thresholds = x_seq.detach(), thresholds.detach()
        if v is None:
            v = self.v0 * thresholds[0]
        if torch.compiler.is_compiling():  # a kernel that keeps its input alone for the backward pass
            spikes, v = checkpoint(self.integrate_and_fire, x_seq, thresholds[t:], v, use_reentrant=False)
        else:
            spikes, v = self.integrate_and_fire(x_seq, thresholds[t:], v)
        if self.surrogate == "rate":
            spikes = [z.detach() + rate for z in spikes]
        if self.charge:
            spikes = [threshold * z for threshold, z in zip(thresholds[t:], spikes, strict=False)]
        return (torch.stack(spikes).to(dtype),), (v, t + len(spikes))

    def integrate_and_fire(self, x_seq: Tensor, thresholds: Tensor, v: Tensor) -> tuple[list[Tensor], Tensor]:
        """Spikes [N, *] of each timestep and the last membrane, from currents [T, N, *] and the membrane before."""
        spikes = []
        # Unbound, for the gradient of a compiled slice is as large as that of the whole.
        for x, threshold in zip(x_seq.unbind(), thresholds.unbind(), strict=False):
            h = v + x  # Eq. 2
            z = self._fire(h, threshold)  # Eq. 4
            v = h - threshold * (z.detach() if self.detach_reset else z)  # Eq. 5
            spikes.append(z)
        return spikes, v

    def _fire(self, h: Tensor, threshold: Tensor) -> Tensor:
        q = h - threshold
        # q / V_th = h / V_th - 1, with the sign of q to the last bit.
        return self.surrogate_function(q / threshold if self.surrogate == "relative" else q)

    def decode(self, spikes: Tensor) -> Tensor:
        r"""Estimate the input from the spikes: the firing rate scaled by the saturation point.

        .. math:: \hat x = \frac{V_{th}(1)}{T} \sum_{t=1}^{T} z(t)

        Eq. 6 with the scale that makes :math:`\hat x` an estimate of the input current. For :class:`ATIFnu` the
        scale is :math:`p_1 = V_{th}(1)`. With ``charge`` the spikes have their scale already, and it is their mean,
        :math:`\frac{1}{T} \sum_t V_{th}(t)\, z(t)`.

        Args:
            spikes: output of this neuron, shape [T, N, *].

        Returns:
            The estimate, shape [N, *], in the unit of the thresholds and the wider of the two dtypes.

        Raises:
            ValueError: the first dimension of ``spikes`` is not T, or there are not as many channels as thresholds.
        """
        if spikes.dim() < 2 or spikes.shape[0] != self.timesteps:
            raise ValueError(f"spikes must have shape [T={self.timesteps}, N, *], got {tuple(spikes.shape)}")
        thresholds = self.thresholds
        rate = spikes.mean(0, dtype=torch.promote_types(spikes.dtype, thresholds.dtype))
        scale = _over_channels(thresholds, spikes, "spikes")[0]
        return rate if self.charge else scale * rate

    def _check_input(self, x_seq: Tensor, t: int) -> None:
        if self.step_mode == "m" and x_seq.shape[:1] != (self.timesteps,):
            raise ValueError(f"input must have shape [T={self.timesteps}, N, *], got {tuple(x_seq.shape)}")
        steps = x_seq.shape[0]
        if self.surrogate == "rate" and steps != self.timesteps:
            raise ValueError("surrogate='rate' needs all timesteps in one call: step_mode must be 'm', got 's'")
        if t + steps > self.timesteps:
            raise ValueError(
                f"timestep {t + steps} is past timesteps={self.timesteps}: call functional.reset_net between inputs"
            )
        if not x_seq.is_floating_point():
            raise TypeError(f"input must be floating point, got {x_seq.dtype}")
        if x_seq.numel() == 0:
            raise ValueError(f"input must not be empty, got shape {tuple(x_seq.shape)}")
        # On an accelerator the check would stall every layer; the training loop looks at the loss there.
        if not torch.compiler.is_compiling() and x_seq.device.type == "cpu" and x_seq.isnan().any():
            raise ValueError(f"input must not hold NaN, got {int(x_seq.isnan().sum())} of them")

    def __getstate__(self) -> dict:
        # A membrane with autograd history can be neither copied nor pickled: its value can.
        memories = {k: v.detach() if isinstance(v, Tensor) else v for k, v in self._memories.items()}
        return self.__dict__ | {"_memories": memories}

    def extra_repr(self) -> str:
        """Options, as they show in ``print(network)``."""
        return (
            f"timesteps={self.timesteps}, v0={torch.as_tensor(self.v0).item():.4g}, "
            f"learn_v0={self.logit_v0 is not None}, charge={self.charge}, surrogate={self.surrogate!r}, "
            f"detach_reset={self.detach_reset}, step_mode={self.step_mode!r}"
        )


class IF(_SoftResetNode):
    r"""Integrate-and-fire neuron with soft reset and a fixed threshold.

    .. math:: H(t) = V(t-1) + i(t), \quad z(t) = \Theta(H(t) - V_{th}), \quad V(t) = H(t) - V_{th}\, z(t)

    Input [T, N, *] in step mode ``'m'``, [N, *] in ``'s'``; output spikes in {0, 1} of the same shape and dtype. The
    membrane is kept in the wider of the input's and the threshold's dtype.

    Args:
        timesteps: T, at least 1.
        threshold: :math:`V_{th}` in the unit of the input current, positive; a tensor of shape [C] gives each
            channel (dimension 1 of [N, C, *]) its own.
        v0: membrane potential before the first timestep, as a fraction of the first threshold, in [0, 1].
        learn_v0: learn that fraction, as the sigmoid of a parameter: it starts at ``v0``, then not 0 or 1.
        charge: put out :math:`V_{th}(t)\, z(t)`, the charge that a spike takes from the membrane, in place of z(t);
            :func:`atif_lib.folding.fold` moves it into the next layer's weights, so that spikes stay binary.
        surrogate: argument of the surrogate derivative :math:`\alpha \sigma'(\alpha q)` of the step (Eq. 10):
            ``'absolute'`` is the paper's :math:`q = H - V_{th}`, ``'relative'`` is :math:`q = H / V_{th} - 1`.
            ``'rate'`` takes instead, for every spike, the gradient of the rate under the mean current, its floor
            passed as if it were not there; nothing flows back through time (Meng et al. 2022 do the like).
        slope: :math:`\alpha` of the surrogate; the paper's is 1. ``'rate'`` has none.
        detach_reset: keep the reset out of the gradient.
        step_mode: SpikingJelly's ``'s'`` (one timestep a call) or ``'m'`` (all of them).

    Raises:
        ValueError: an argument outside its range; on a call, another number of timesteps, an empty or NaN input.
        TypeError: an input that is not floating point.

    Source: Eqs 2-5.
    """

    def __init__(self, timesteps: int = 4, threshold: float | Tensor = 1.0, **options) -> None:
        super().__init__(timesteps, **options)
        self.register_buffer("threshold", _positive("threshold", threshold))

    @property
    def thresholds(self) -> Tensor:
        """The fixed threshold at every timestep, shape [T] or [T, C]."""
        return self.threshold.expand(self.timesteps, *self.threshold.shape)


class ATIFu(_SoftResetNode):
    r"""Adaptive-threshold integrate-and-fire neuron, uniform: the threshold is learned.

    .. math:: V_{th} = e^{w}, \qquad \frac{\partial L}{\partial V_{th}} = \sum_t \frac{\partial L}{\partial z(t)}
        \frac{\partial z(t)}{\partial V_{th}}

    with the surrogate derivative of :class:`IF` for the step. Learning the logarithm keeps the threshold positive.

    Args:
        timesteps: T, at least 1.
        threshold: initial :math:`V_{th}`, from 1e-6 to 1e6, where it then stays; a tensor of shape [C] makes one for
            each channel.
        **options: as for :class:`IF`.

    Raises:
        ValueError, TypeError: as for :class:`IF`.

    Source: Eqs 9-12.
    """

    def __init__(self, timesteps: int = 4, threshold: float | Tensor = 1.0, **options) -> None:
        super().__init__(timesteps, **options)
        self.log_threshold = nn.Parameter(_learned_log(threshold))

    @property
    def thresholds(self) -> Tensor:
        """The learned threshold at every timestep, shape [T] or [T, C]."""
        return _bounded_exp(self.log_threshold).expand(self.timesteps, *self.log_threshold.shape)


class ATIFnu(_SoftResetNode):
    r"""Adaptive-threshold integrate-and-fire neuron, non-uniform: one learned threshold for each timestep.

    The parameters are the inputs :math:`p_1 > p_2 > \dots > p_T > 0` at which the count is meant to step up. They
    are running sums of positive steps, so that no update can break their order:

    .. math:: p_k = \sum_{j=k}^{T} e^{w_j}

    ``form='telescoping'`` solves the last line of each system of the paper, for any T:

    .. math:: V_{p_1} = p_1, \qquad V_{p_k} = T (p_k - p_{k+1}), \qquad V_{p_T} = T p_T

    ``form='printed'`` is Eqs 14-19 as they stand, T = 4 only. It differs in
    :math:`V_{p_2} = (T-1) p_2 - T (p_3 - p_4)`, which can fall below zero; it is held at a hundredth of :math:`p_1`.

    Args:
        timesteps: T, at least 1.
        threshold: initial :math:`p_1`; the p start evenly spaced, with steps from 1e-6 to 1e6, where they then stay.
            A tensor of shape [C] makes p for each channel.
        form: ``'telescoping'`` or ``'printed'``.
        **options: as for :class:`IF`.

    Raises:
        ValueError, TypeError: as for :class:`IF`; ``form='printed'`` with T other than 4.

    Source: Eqs 14-19.
    """

    def __init__(
        self,
        timesteps: int = 4,
        threshold: float | Tensor = 1.0,
        *,
        form: Literal["telescoping", "printed"] = "telescoping",
        **options,
    ) -> None:
        super().__init__(timesteps, **options)
        if self.surrogate == "rate":
            raise ValueError("surrogate='rate' is the gradient of one threshold; ATIFnu has T: 'relative', 'absolute'")
        if form not in ("telescoping", "printed"):
            raise ValueError(f"form must be 'telescoping' or 'printed', got {form!r}")
        if form == "printed" and timesteps != 4:
            raise ValueError(f"form='printed' is given for timesteps=4 only, got timesteps={timesteps}")
        self.form = form
        log_step = _learned_log(threshold, steps=timesteps)
        self.log_steps = nn.Parameter(log_step.expand(timesteps, *log_step.shape).clone())

    @property
    def p(self) -> Tensor:
        """Intended transitions :math:`p_1 > ... > p_T`, shape [T] or [T, C]."""
        return _bounded_exp(self.log_steps).flip(0).cumsum(0).flip(0)

    @property
    def thresholds(self) -> Tensor:
        """Thresholds :math:`V_{p_1}, ..., V_{p_T}` in the order of the timesteps, shape [T] or [T, C]."""
        p = self.p
        thresholds = torch.cat([p[:1], self.timesteps * _bounded_exp(self.log_steps[1:])])
        if self.form == "printed":
            second = torch.maximum(3 * p[1] - 4 * (p[2] - p[3]), p[0] / 100)  # Eq. 19
            thresholds = torch.cat([thresholds[:1], second.unsqueeze(0), thresholds[2:]])
        return thresholds


def _straight_through_rate(x: Tensor, threshold: Tensor, v0: float | Tensor, timesteps: int) -> Tensor:
    """Zeros, with the gradient of the unrounded rate (Eqs 6 and 7) by the mean current, the threshold and v(0)."""
    rate = (timesteps * x / threshold + v0).clamp(0, timesteps) / timesteps
    return rate - rate.detach()


def _positive(name: str, value: float | Tensor) -> Tensor:
    tensor = torch.as_tensor(value).detach().clone()
    tensor = tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
    if tensor.dim() > 1 or tensor.numel() == 0 or not (tensor.isfinite() & (tensor > 0)).all():
        raise ValueError(f"{name} must be positive and finite, one number or one a channel, got {tensor.tolist()}")
    return tensor


def _learned_log(threshold: float | Tensor, steps: int = 1) -> Tensor:
    step = _positive("threshold", threshold) / steps
    if ((step < _SMALLEST) | (step > _LARGEST)).any():
        allowed = f"between {steps * _SMALLEST:g} and {steps * _LARGEST:g}"
        raise ValueError(f"threshold must be {allowed} to be learned, got {(steps * step).tolist()}")
    return step.log()


def _bounded_exp(w: Tensor) -> Tensor:
    return w.clamp(math.log(_SMALLEST), math.log(_LARGEST)).exp()


def _over_channels(thresholds: Tensor, x_seq: Tensor, name: str = "input") -> Tensor:
    """Shape thresholds [T] or [T, C] so that they broadcast over x_seq [T, N, C, *]."""
    if thresholds.dim() == 1:
        return thresholds
    if x_seq.dim() < 3 or x_seq.shape[2] != thresholds.shape[1]:
        raise ValueError(
            f"{name} must have C={thresholds.shape[1]} channels, one for each threshold, got {tuple(x_seq.shape)}"
        )
    return thresholds.view(*thresholds.shape, *[1] * (x_seq.dim() - 3))
