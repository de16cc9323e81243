"""The neuron of Eq. 11 is a neuron as the others are."""

import pytest
import torch
from torch.testing import assert_close

from atif_lib.experiments.contract import Context
from atif_lib.experiments.one_neuron import Eq11, NeuronExperiment
from atif_lib.neurons.atif import ATIFu
from atif_lib.quantization.density import LAPLACE
from atif_lib.quantization.families import best_uniform
from atif_lib.results.records import recording


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


def test_the_gain_over_the_uniform_optimum_is_over_that_of_the_same_density(results):
    made = NeuronExperiment("of a test", "ATIFnu", density="laplace", steps=1)
    with recording("toy-of-a-test", "smoke", 0, {}) as draft:
        made.run(Context(draft, 0))
    over = draft.result["sqnr_db"] - draft.result["gain_over_uniform_db"]
    assert over == pytest.approx(best_uniform(LAPLACE, 4).sqnr_db)
