"""What an argument is called and what it may be stands in the signature, where `help()` and editors look."""

import inspect
import re
from typing import get_type_hints

import pytest

from atif_lib.networks.architectures import NETWORKS, resnet8, resnet18, vgg16, vgg_small
from atif_lib.neurons.atif import IF, ATIFnu, ATIFu, SafeATIFnu

KINDS = [IF, ATIFu, ATIFnu, SafeATIFnu]
OPTIONS = ["v0", "learn_v0", "charge", "surrogate", "slope", "detach_reset", "step_mode", "store_v_seq"]
VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


@pytest.mark.parametrize("kind", KINDS)
def test_a_neuron_names_all_that_it_takes(kind):
    parameters = inspect.signature(kind).parameters
    assert list(parameters) == ["timesteps", "threshold", *["form"] * (kind is ATIFnu), *OPTIONS]
    assert not [p for p in parameters.values() if p.kind in VARIADIC]
    assert get_type_hints(kind.__init__).keys() == {*parameters, "return"}


@pytest.mark.parametrize("kind", KINDS)
def test_its_docstring_describes_them_and_no_others(kind):
    described = inspect.getdoc(kind).split("Args:\n", 1)[1].split("\n\n", 1)[0]
    names = [name for line in re.findall(r"^    ([\w, ]+): ", described, re.MULTILINE) for name in line.split(", ")]
    assert sorted(names) == sorted(inspect.signature(kind).parameters)


def test_the_defaults_are_the_same_in_all():
    defaults = [[inspect.signature(kind).parameters[name].default for name in OPTIONS] for kind in KINDS]
    assert all(own == defaults[0] for own in defaults)


@pytest.mark.parametrize("build", [vgg16, vgg_small, resnet18, resnet8])
def test_a_network_names_all_that_it_takes(build):
    parameters = inspect.signature(build).parameters
    names = ["activation", "timesteps", "classes", "in_channels"]
    assert list(parameters) == [*names, "join" if build in (resnet8, resnet18) else "norm"]
    assert get_type_hints(build).keys() == {*parameters, "return"}


def test_networks_take_the_same_by_name():
    for build in NETWORKS.values():
        assert {"timesteps", "classes", "in_channels"} <= inspect.signature(build).parameters.keys()
