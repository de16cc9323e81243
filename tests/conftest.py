"""Shared by the tests: hypothesis draws the same examples every time, and data and records land in a folder of ours."""

import os
import signal

import pytest
from hypothesis import settings

# The tests are of a processor: a GPU would be taken where there is one, and few of GitHub's Macs have memory on theirs.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["DISABLE_MPS"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side; each process, and those it starts, takes one core
    os.environ["OMP_NUM_THREADS"] = "1"

from atif_lib import data
from atif_lib.neurons import fused
from atif_lib.paths import data_folder
from atif_lib.training import execution
from atif_lib.training.checkpoints import STOP_SIGNALS

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.register_profile("search", deadline=None, max_examples=2000)  # pytest --hypothesis-profile=search
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def own_data_root():
    """The data root of who runs the tests, which may have the real data."""
    return data_folder()


@pytest.fixture(autouse=True, scope="session")
def data_root(own_data_root, tmp_path_factory):
    """A temporary data root, and no folders of the reader's own: no test writes into them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATIF_DATA", str(tmp_path_factory.mktemp("data")))
        launched = ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "TORCHELASTIC_RUN_ID", *execution._ALONE)
        for name in ("ATIF_RESULTS", "ATIF_RUNS", "ATIF_FIGURES", *launched):  # of the shell or the queue
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def digits(data_root):
    """scikit-learn's digits, packed into the temporary data root."""
    return data.load("digits")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """An empty results folder."""
    monkeypatch.setenv("ATIF_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def uncompiled(monkeypatch):
    """The fused kernels as the Python that they are: what they compute is the same, and nothing has to be compiled."""
    monkeypatch.setattr(fused, "compiled", lambda function: function)


@pytest.fixture(autouse=True, scope="session")
def signals_are_heard():
    """Put back what a shell's `&` or nohup has the tests ignore: trainings in them are to be stopped."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
