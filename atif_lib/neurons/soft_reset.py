"""The neuron with soft reset (Eqs 2-5) that those of :mod:`atif_lib.neurons` share, whatever their thresholds."""

import math
from typing import Any, Literal

import torch
from spikingjelly.activation_based import neuron
from spikingjelly.activation_based import surrogate as surrogates
from torch import Tensor, nn

from atif_lib import checks
from atif_lib.neurons.fused import Law, Term, fire
from atif_lib.quantization.uniform import check_start

__all__ = ["SoftResetNode"]

# What the kernels of `fused` stand for; a subclass that has its own is computed as it is written.
_EQUATIONS = (
    "forward",
    "multi_step_forward",
    "multi_step_functional_forward",
    "_answer",
    "integrate_and_fire",
    "_fire",
)


class SoftResetNode(neuron.BaseNode):
    """Eqs 2-5 for thresholds that a subclass gives; the arguments are described in :class:`atif_lib.neurons.IF`."""

    surrogate_function: Any  # SpikingJelly's Sigmoid, whose alpha its types do not know

    def __init__(
        self,
        timesteps: int = 4,
        threshold: float | Tensor = 1.0,
        *,
        v0: float = 0.0,
        learn_v0: bool = False,
        charge: bool = False,
        surrogate: Literal["relative", "absolute", "rate"] = "relative",
        slope: float = 4.0,
        detach_reset: bool = False,
        step_mode: Literal["s", "m"] = "s",
        store_v_seq: bool = False,
    ) -> None:
        """Make the neuron; the class says what the arguments mean."""
        timesteps = checks.integer("timesteps", timesteps)
        v0, slope = check_start(v0), checks.number("slope", slope)
        switches = {"learn_v0": learn_v0, "charge": charge, "detach_reset": detach_reset, "store_v_seq": store_v_seq}
        for name, value in switches.items():
            checks.boolean(name, value)
        if learn_v0 and not torch.tensor(v0).logit().isfinite():
            raise ValueError(f"v0={v0}; allowed: between 0 and 1, both excluded, to be learned (in float32)")
        checks.choice("surrogate", surrogate, ("relative", "absolute", "rate"))
        if not 0 < slope < math.inf:
            raise ValueError(f"slope={slope}; allowed: a positive, finite number")
        super().__init__(
            v_reset=None,
            surrogate_function=surrogates.Sigmoid(alpha=slope),
            detach_reset=detach_reset,
            step_mode=step_mode,
            store_v_seq=store_v_seq,
        )
        self.timesteps, self.charge, self.surrogate = timesteps, charge, surrogate
        self._v0 = v0
        self.logit_v0 = nn.Parameter(torch.tensor(v0).logit()) if learn_v0 else None
        self.fused = False
        self.set_reset_value("v", None)
        self.v = None  # membrane potential, [N, *]
        self.register_memory("t", 0)  # timesteps since the last reset
        self.begin_with(threshold)

    def begin_with(self, threshold: float | Tensor) -> None:
        """Make the buffer or the parameter that ``thresholds`` follow from; the last step of the constructor."""
        raise NotImplementedError

    @property
    def v0(self) -> float | Tensor:
        """Membrane potential before the first timestep, as a fraction of the first threshold; a tensor if learned."""
        return self._v0 if self.logit_v0 is None else self.logit_v0.sigmoid()

    @property
    def thresholds(self) -> Tensor:
        """Thresholds :math:`V_{th}(t)`, shape [T], or [T, C] where each channel has its own."""
        raise NotImplementedError

    @property
    def fusable(self) -> bool:
        """Whether the kernels of :mod:`atif_lib.neurons.fused` compute what this neuron does.

        They know neither the gradient of the rate, nor a surrogate other than the sigmoid, nor equations that a
        subclass has in place of these.
        """
        sigmoid = type(self.surrogate_function) is surrogates.Sigmoid and self.surrogate_function.spiking
        as_here = all(getattr(type(self), name) is getattr(SoftResetNode, name) for name in _EQUATIONS)
        return sigmoid and as_here and self.surrogate != "rate"

    @property
    def fused(self) -> bool:
        """Whether a kernel computes this neuron, see :func:`atif_lib.training.execution.compile_neurons`.

        Such a neuron stores no ``v_seq``, and begins with the membrane that ``v0`` says: one with another runs as it is
        written.
        """
        as_asked = self.step_mode == "m" and not self.store_v_seq and self.v is None
        return self._fused and as_asked and self.fusable

    @fused.setter
    def fused(self, value: bool) -> None:
        self._fused = value

    def forward(self, *inputs: Tensor | Term) -> Tensor:
        """Return the spikes for an input; a fused neuron may get the terms of its current instead."""
        if isinstance(inputs[0], torch.fx.Proxy):
            raise NotImplementedError(
                f"{type(self).__name__} has a soft reset, which NIR has no node for, and cannot be traced by torch.fx; "
                "torch.export and torch.onnx.export work"
            )
        if not self.fused:
            spikes = super().forward(*inputs)
            assert isinstance(spikes, Tensor)
            return spikes
        terms = [x if isinstance(x, Term) else Term(x) for x in inputs]
        self._check_input(terms[0].maps, self.t, nan=False)
        thresholds = self._all_thresholds()
        _over_channels(thresholds, terms[0].maps)  # refuses what does not fit
        flat = terms[0].maps.dim() == 2  # [T, N]: one channel
        if flat:
            terms = [term._replace(maps=term.maps.unsqueeze(2)) for term in terms]
        law = Law(self.surrogate_function.alpha, self.surrogate == "relative", self.detach_reset, self.charge)
        spikes = fire(terms, thresholds, self.v0 * thresholds[0], law)
        self.t += len(spikes)
        return spikes.squeeze(2) if flat else spikes

    @property
    def v_threshold(self) -> Tensor:
        """The first threshold, by the name that SpikingJelly's neurons give theirs; to be read only."""
        return self.thresholds[0]

    @v_threshold.setter
    def v_threshold(self, value: Any) -> None:
        if "timesteps" not in self.__dict__:  # SpikingJelly's constructor sets a default, which is not used
            return
        raise AttributeError(
            f"v_threshold={value!r}; allowed: threshold of IF, log_threshold of ATIFu, log_steps of ATIFnu"
        )

    @property
    def v_reset(self) -> None:
        """None, which is SpikingJelly's word for the soft reset; to be read only."""
        return None

    @v_reset.setter
    def v_reset(self, value: float | None) -> None:
        if value is not None:
            raise AttributeError(f"v_reset={value!r}; allowed: None, for these neurons have the soft reset alone")

    def single_step_functional_forward(self, inputs: tuple[Tensor], states: tuple) -> tuple[tuple[Tensor], tuple]:
        """One timestep: input [N, *], spikes [N, *]."""
        (z,), states = self.multi_step_functional_forward((inputs[0].unsqueeze(0),), states)
        return (z[0],), states

    def multi_step_functional_forward(self, inputs: tuple[Tensor], states: tuple) -> tuple[tuple[Tensor], tuple]:
        """All timesteps: input [T, N, *], spikes [T, N, *], each worth its charge if that is asked for."""
        spikes, membranes, t = self._answer(*inputs, *states)
        return (spikes,), (membranes[-1], t)

    def multi_step_forward(self, x_seq: Tensor) -> Tensor:
        """All timesteps; with ``store_v_seq`` the membranes behind each, [T, N, *], are in ``v_seq``."""
        if not self.store_v_seq:
            spikes = super().multi_step_forward(x_seq)
            assert isinstance(spikes, Tensor)
            return spikes
        spikes, membranes, self.t = self._answer(x_seq, self.v, self.t)
        self.v, self.v_seq = membranes[-1], torch.stack(membranes)
        return spikes

    def materialize_states(self, inputs: tuple[Tensor], states: tuple, step_mode: str) -> tuple:
        """Return the states as they are: the first timestep makes the membrane, once the input is checked."""
        return states

    def _answer(self, x_seq: Tensor, v: Tensor | None, t: int) -> tuple[Tensor, list[Tensor], int]:
        """Spikes [T, N, *], membranes as `integrate_and_fire` returns them, and timesteps since the last reset."""
        self._check_input(x_seq, t)
        thresholds = self._all_thresholds()
        x_seq, dtype = x_seq.to(torch.promote_types(x_seq.dtype, thresholds.dtype)), x_seq.dtype
        thresholds = worth = _over_channels(thresholds, x_seq, timed=self.step_mode == "m")
        if self.surrogate == "rate":
            rate = _straight_through_rate(x_seq.mean(0), thresholds[0], self.v0, self.timesteps)
            x_seq, thresholds = x_seq.detach(), thresholds.detach()
        if v is not None and not (isinstance(v, Tensor) and v.dim()):  # one number for all
            v = torch.zeros_like(x_seq[0]) + v
        if v is not None and v.shape != x_seq.shape[1:]:
            raise ValueError(
                f"input {[*x_seq.shape[1:]]} behind one of {[*v.shape]}; allowed: one shape until functional.reset_net"
            )
        if v is None:
            v = torch.zeros_like(x_seq[0])  # by this, SpikingJelly's counters know a membrane
            v = v + self.v0 * thresholds[0] if self._v0 else v
        spikes, membranes = self.integrate_and_fire(x_seq, thresholds[t:], v)
        if self.surrogate == "rate":
            spikes = [z.detach() + rate for z in spikes]
        if self.charge:
            spikes = [charge * z for charge, z in zip(worth[t:], spikes, strict=False)]
        return torch.stack(spikes).to(dtype), membranes, t + len(spikes)

    def integrate_and_fire(self, x_seq: Tensor, thresholds: Tensor, v: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        r"""Spikes [N, *] of each timestep, from currents [T, N, *] and the membrane before; and the last membrane.

        .. math:: H(t) = V(t-1) + i(t), \quad z(t) = \Theta(H(t) - V_{th}(t)), \quad V(t) = H(t) - V_{th}(t)\, z(t)

        With ``store_v_seq`` the membranes behind all timesteps are returned.

        Source: Eqs 2, 4 and 5.
        """
        spikes, membranes = [], []
        for x, threshold in zip(x_seq, thresholds, strict=False):
            h = v + x  # Eq. 2
            z = self._fire(h, threshold)  # Eq. 4
            v = h - threshold * (z.detach() if self.detach_reset else z)  # Eq. 5
            spikes.append(z)
            membranes = [*membranes, v] if self.store_v_seq else [v]
        return spikes, membranes

    def _fire(self, h: Tensor, threshold: Tensor) -> Tensor:
        q = h - threshold
        # q / V_th = h / V_th - 1, with the sign of q to the last bit.
        return self.surrogate_function(q / threshold if self.surrogate == "relative" else q)

    def decode(self, spikes: Tensor) -> Tensor:
        r"""Estimate the input from the spikes: the firing rate scaled by the saturation point.

        .. math:: \hat x = \frac{V_{th}(1)}{T} \sum_{t=1}^{T} z(t)

        Eq. 6 with the scale that makes :math:`\hat x` an estimate of the input current. For
        :class:`atif_lib.neurons.ATIFnu` the scale is :math:`p_1 = V_{th}(1)`. With ``charge`` the spikes have their
        scale already, and it is their mean, :math:`\frac{1}{T} \sum_t V_{th}(t)\, z(t)`.

        Args:
            spikes: output of this neuron, shape [T, N, *].

        Returns:
            The estimate, shape [N, *], in the unit of the thresholds and the wider of the two dtypes.

        Raises:
            ValueError: the first dimension of ``spikes`` is not T, or there are not as many channels as thresholds.
        """
        if spikes.dim() < 2 or spikes.shape[0] != self.timesteps:
            raise ValueError(f"spikes {[*spikes.shape]}; allowed: [T={self.timesteps}, N, *]")
        thresholds = self.thresholds
        rate = spikes.mean(0, dtype=torch.promote_types(spikes.dtype, thresholds.dtype))
        scale = _over_channels(thresholds, spikes, "spikes")[0]
        return rate if self.charge else scale * rate

    def _all_thresholds(self) -> Tensor:
        """Return the thresholds, of which a subclass, or another number of timesteps, may give too few or too many."""
        thresholds = self.thresholds
        if len(thresholds) != self.timesteps:
            raise ValueError(f"thresholds {[*thresholds.shape]}; allowed: [T={self.timesteps}] or [T, C]")
        return thresholds

    def _check_input(self, x_seq: Tensor, t: int, nan: bool = True) -> None:
        if self.step_mode == "m" and x_seq.shape[:1] != (self.timesteps,):
            raise ValueError(f"input {[*x_seq.shape]}; allowed: [T={self.timesteps}, N, *]")
        steps = x_seq.shape[0]
        if self.surrogate == "rate" and steps != self.timesteps:
            raise ValueError("step_mode='s' with surrogate='rate'; allowed: 'm', all timesteps in one call")
        if t + steps > self.timesteps:
            raise ValueError(
                f"timestep {t + steps} is past timesteps={self.timesteps}: call functional.reset_net between inputs; "
                "to save memory in place of torch.utils.checkpoint, use save_memory or SpikingJelly's memopt"
            )
        if not x_seq.is_floating_point():
            raise TypeError(f"input of type {x_seq.dtype}; allowed: floating point")
        if x_seq.numel() == 0:
            given = x_seq.shape if self.step_mode == "m" else x_seq.shape[1:]
            raise ValueError(f"input {[*given]}; allowed: one value or more")
        # On an accelerator the check would stall every layer; the training loop looks at loss and gradient there.
        if nan and not torch.compiler.is_compiling() and x_seq.device.type == "cpu" and not _is_finite(x_seq):
            raise ValueError(f"input has {int((~x_seq.isfinite()).sum())} NaN or infinite values; allowed: finite ones")

    def __getstate__(self) -> dict:
        # A membrane with autograd history can be neither copied nor pickled: its value can.
        memories = {k: v.detach() if isinstance(v, Tensor) else v for k, v in self._memories.items()}
        v_seq = None if self.v_seq is None else self.v_seq.detach()
        state = super().__getstate__()  # without what compile() made, which calls the original
        return state | {"_memories": memories, "v_seq": v_seq}

    def extra_repr(self) -> str:
        """Options, as they show in ``print(network)``."""
        return (
            f"timesteps={self.timesteps}, v0={self._v0:.4g}, "
            f"learn_v0={self.logit_v0 is not None}, charge={self.charge}, surrogate={self.surrogate!r}, "
            f"detach_reset={self.detach_reset}, step_mode={self.step_mode!r}"
        )


def _is_finite(x: Tensor) -> bool:
    """Say in one pass, without a copy, whether all values are finite; a NaN makes both extremes NaN."""
    least, most = x.detach().aminmax()
    return bool(least > -math.inf) and bool(most < math.inf)


def _straight_through_rate(x: Tensor, threshold: Tensor, v0: float | Tensor, timesteps: int) -> Tensor:
    """Zeros, with the gradient of the unrounded rate (Eqs 6 and 7) by the mean current, the threshold and V(0)."""
    rate = (timesteps * x / threshold + v0).clamp(0, timesteps) / timesteps
    return rate - rate.detach()


def _over_channels(thresholds: Tensor, x_seq: Tensor, name: str = "input", timed: bool = True) -> Tensor:
    """Shape thresholds [T] or [T, C] so that they broadcast over x_seq [T, N, C, *], which a user gave so if timed."""
    if thresholds.dim() == 1:
        return thresholds
    if x_seq.dim() < 3 or x_seq.shape[2] != thresholds.shape[1]:
        given, time = (x_seq.shape, "T, ") if timed else (x_seq.shape[1:], "")
        allowed = f"[{time}N, C={thresholds.shape[1]}, *]"
        raise ValueError(f"{name} {[*given]}; allowed: {allowed}, a channel for each threshold")
    return thresholds.view(*thresholds.shape, *[1] * (x_seq.dim() - 3))
