"""Where things live, with a checkout and without one."""

from pathlib import Path

import pytest

from atif_lib import paths, records

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "ATIF_RESULTS": (paths.results_folder, "data/results", "results"),
    "ATIF_RUNS": (paths.runs_folder, "_build/runs", "runs"),
    "ATIF_FIGURES": (paths.figures_folder, "_build/figures", "figures"),
    "ATIF_DATA": (paths.data_folder, "data/cache", None),
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """No checkout and no variables; return the working folder and the folder of what comes with the package."""
    for name in FOLDERS:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(paths, "CHECKOUT", None)
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "package" / "shipped")
    return tmp_path / "work", tmp_path / "package" / "shipped"


@pytest.mark.parametrize("variable", FOLDERS)
def test_a_variable_names_the_folder_and_a_tilde_is_the_home_folder(tmp_path, monkeypatch, variable):
    folder, inside, _ = FOLDERS[variable]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # home on Windows
    for value in (str(tmp_path / "mine"), "~/mine"):
        monkeypatch.setenv(variable, value)
        assert folder() == tmp_path / "mine"
    monkeypatch.setenv(variable, "")
    assert folder() == ROOT / inside


def test_a_checkout_has_one_folder_of_records_and_one_of_weights(monkeypatch):
    monkeypatch.delenv("ATIF_RESULTS", raising=False)
    assert paths.results_folders() == (ROOT / "data" / "results",)
    assert paths.weights_folders() == (ROOT / "data" / "weights",)


def test_without_a_checkout_all_is_written_below_the_working_folder(installed, tmp_path, monkeypatch):
    work, shipped = installed
    for folder, _, outside in FOLDERS.values():
        if outside:
            assert folder() == work / "atif" / outside
    assert paths.weights_folders() == (work / "atif" / "weights", shipped / "weights")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.data_folder() == tmp_path / "cache" / "atif_lib"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert paths.data_folder() == tmp_path / ".cache" / "atif_lib"


def test_without_a_checkout_own_records_stand_beside_those_of_the_package(installed):
    _, shipped = installed
    for name in ("toy-fixed-laptop-s0.json", "toy-laplace-laptop-s0.json"):
        (shipped / "results").mkdir(parents=True, exist_ok=True)
        (shipped / "results" / name).write_bytes((ROOT / "data" / "results" / name).read_bytes())
    assert [r.run_id for r in records.load_all()] == ["toy-fixed-laptop-s0", "toy-laplace-laptop-s0"]
    with records.recording("toy-fixed", "laptop", 0, {"mine": True}) as draft:
        pass
    assert draft.path.parent == paths.results_folder()
    mine, other = records.load_all()
    assert (mine.run_id, mine.config, other.run_id) == ("toy-fixed-laptop-s0", {"mine": True}, "toy-laplace-laptop-s0")
    assert len(records.load_all(shipped / "results")) == 2
