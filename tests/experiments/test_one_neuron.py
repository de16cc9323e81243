"""The neuron of Eq. 11 is a neuron as the others are."""

import pytest
import torch
from torch.testing import assert_close

from atif_lib.experiments.one_neuron import Eq11
from atif_lib.neurons.atif import ATIFu


@pytest.mark.parametrize("v0", [0.0, 0.5])
def test_the_membranes_behind_all_timesteps_are_kept_where_they_are_asked_for(v0):
    """The reset is left out of the gradient alone: the membranes are those of ATIF-u."""
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    nodes = [kind(4, 0.7, v0=v0, step_mode="m", store_v_seq=store) for kind in (Eq11, ATIFu) for store in (True, False)]
    spikes = [node(x) for node in nodes]
    assert all(torch.equal(z, spikes[0]) for z in spikes)
    kept, plain, other, _ = nodes
    assert kept.v_seq.shape == (4, 5, 3)
    assert_close(kept.v_seq, other.v_seq)
    assert torch.equal(kept.v_seq[-1], plain.v)
    assert plain.v_seq is None
