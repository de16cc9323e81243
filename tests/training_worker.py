"""A small training that tests run in processes of their own.

`python training_worker.py FOLDER ACTIVATION [KILL|TERM UPDATE | RESUME]`: a signal comes before that update, with a
checkpoint after each; SIGTERM to the last process only. Otherwise weights and history land in FOLDER/final.pt.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from atif_lib import data
from atif_lib.experiments.networks import NetworkExperiment
from atif_lib.networks.activations import ACTIVATIONS
from atif_lib.networks.architectures import vgg_small
from atif_lib.neurons.atif import ATIFu
from atif_lib.training import loop as training
from atif_lib.training.loop import train
from atif_lib.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=24, augment=("crop", "flip"), mix="mixup", label_smoothing=0.1, clip=1.0)


def network(activation="atif-u", dtype=torch.float32):
    """The same initial weights every time."""
    torch.manual_seed(0)
    factory = {"relu": ACTIVATIONS["relu"], "atif-u": lambda channels, timesteps: ATIFu(timesteps, step_mode="m")}[
        activation
    ]
    return vgg_small(factory, 2).to(dtype)


PATIENCE = 900  # seconds that a process of a test may take: against hanging, not a measure
several_processes = pytest.mark.skipif(
    sys.platform == "win32" or not torch.distributed.is_gloo_available(),
    reason="torchrun: no gloo, or no libuv (Windows)",
)


def examples():
    """A few digits: 4 updates an epoch, and a rest that fills no batch."""
    return data.load("digits").thinned(100)


def signal_before(update, number):
    """Send this process a signal before an update; `training.mixed_loss` is to be put back."""
    loss, count = training.mixed_loss, 0

    def counting(*arguments):
        nonlocal count
        count += 1
        if count == update:
            if number in (signal.SIGINT, signal.SIGTERM):
                signal.raise_signal(number)  # os.kill ends a process of Windows at once
            else:
                os.kill(os.getpid(), number)
        return loss(*arguments)

    training.mixed_loss = counting


def shrink_smoke(patch):
    """Give small networks the smoke profile of the large ones: 8 updates of 8 examples."""
    at = NetworkExperiment.at

    def smaller(experiment, profile):
        found = at(experiment, profile)
        recipe = dataclasses.replace(found.recipe, batch_size=8)
        return dataclasses.replace(found, recipe=recipe, limit=64) if profile == "smoke" else found

    patch.setattr(NetworkExperiment, "at", smaller)


def in_double(normalizer):
    """Make inputs float64, so that two orders of the same sum agree to the last digits and no spike flips."""
    return lambda examples: lambda inputs: normalizer(examples)(inputs).double()


if __name__ == "__main__":
    folder, activation, *interrupt = sys.argv[1:]
    torch.set_num_threads(1)
    dtype = torch.float32
    last = int(os.environ.get("RANK", 0)) + 1 == int(os.environ.get("WORLD_SIZE", 1))
    resume = interrupt == ["RESUME"]
    if interrupt and not resume and (last or interrupt[0] == "KILL"):
        signal_before(int(interrupt[1]), signal.Signals[f"SIG{interrupt[0]}"])
    if not interrupt:
        data.normalizer, dtype = in_double(data.normalizer), torch.float64
    net = network(activation, dtype)
    history = list(train(net, examples(), RECIPE, folder=Path(folder), resume=resume, save_seconds=0.0))
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save({"state": net.state_dict(), "history": history}, Path(folder, "final.pt"))
