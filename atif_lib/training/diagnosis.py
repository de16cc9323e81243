"""Where a training went wrong: the first layer whose output is not finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from atif_lib.networks.architectures import layer_name, unfused

__all__ = ["bad_layer_named", "first_bad_layer"]


@contextmanager
def bad_layer_named(network: nn.Module, inputs: Tensor, place: str) -> Iterator[None]:
    """Say of a loss that is not finite, or of a neuron that refuses its input, where and from which layer it came."""
    try:
        yield
    except (FloatingPointError, ValueError) as error:
        if bad := int((~inputs.isfinite()).sum()):
            raise FloatingPointError(f"{error} at {place}, from inputs with {bad} NaN or infinite values") from error
        layer = first_bad_layer(network, inputs)
        if layer is None and isinstance(error, ValueError):
            raise
        origin = f"layer {layer}" if layer else "no layer: the output of each is finite"
        raise FloatingPointError(f"{error} at {place}, from {origin}") from error


@torch.no_grad()
def first_bad_layer(network: nn.Module, inputs: Tensor) -> str | None:
    """Name the first layer whose output is not finite for these inputs."""
    bad: list[str] = []

    def look(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            bad.append(name)

    leaves = [(layer_name(name), m) for name, m in network.named_modules() if not list(m.children())]
    hooks = [m.register_forward_hook(lambda m, i, output, name=name: look(name, output)) for name, m in leaves]
    functional.reset_net(network)
    try:
        with unfused(network), torch.compiler.set_stance("force_eager"):
            network(inputs)
    except ValueError:  # a neuron that refuses NaN comes behind the layer that made it
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return bad[0] if bad else None
