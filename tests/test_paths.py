"""Where data, records, runs and figures lie: the variables that name a folder, and the folders without them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atif_lib import paths
from atif_lib.results import records

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {  # the variable, and the folder without it
    paths.data_folder: ("ATIF_DATA", ROOT / "data" / "cache"),
    paths.figures_folder: ("ATIF_FIGURES", ROOT / "_build" / "figures"),
    paths.results_folder: ("ATIF_RESULTS", ROOT / "data" / "results"),
    paths.runs_folder: ("ATIF_RUNS", ROOT / "_build" / "runs"),
}


@pytest.fixture(params=FOLDERS.items(), ids=[variable for variable, _ in FOLDERS.values()])
def place(request):
    """A function of `paths`, its variable and its folder without it."""
    function, (variable, default) = request.param
    return function, variable, default


def test_the_folder_of_the_checkout_serves_where_the_variable_is_unset_or_empty(place, monkeypatch):
    function, variable, default = place
    monkeypatch.delenv(variable, raising=False)
    assert function() == default
    monkeypatch.setenv(variable, "")
    assert function() == default


def test_home_and_relative_folders_are_absolute(place, tmp_path, monkeypatch):
    function, variable, _ = place
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "~/mine")
    assert function() == tmp_path / "home" / "mine"
    monkeypatch.setenv(variable, "mine")
    assert function() == tmp_path / "mine"


def test_made_absolute_once_they_stay_the_same_in_another_folder(place, tmp_path, monkeypatch):
    function, variable, _ = place
    monkeypatch.setenv(variable, "mine")
    monkeypatch.chdir(tmp_path)
    paths.make_absolute()
    monkeypatch.chdir(ROOT)
    assert function() == tmp_path / "mine"
    assert os.environ[variable] == str(tmp_path / "mine")


def test_what_is_unset_stays_unset(monkeypatch):
    for variable, _ in FOLDERS.values():
        monkeypatch.delenv(variable, raising=False)
    paths.make_absolute()
    assert not {variable for variable, _ in FOLDERS.values()} & set(os.environ)


@pytest.mark.parametrize("command", [["report"], ["report", "--check"], ["table", "1"]])
def test_a_mistyped_results_folder_is_an_error(command, tmp_path):
    environment = os.environ | {"ATIF_RESULTS": str(tmp_path / "resluts"), "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-m", "atif_lib", *command], env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("atif_lib: ATIF_RESULTS=")
    assert "resluts is no folder; allowed: one with records" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_chapter_finds_the_data_that_a_relative_variable_names(tmp_path, monkeypatch):
    """`make data` runs in the checkout's folder, a chapter in the folder of its source."""
    from ci import execute_chapters

    monkeypatch.setenv("ATIF_DATA", "mydata")
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(execute_chapters, "execute", lambda *_: seen.append(os.environ["ATIF_DATA"]) or {})
    monkeypatch.setattr(sys, "argv", ["execute_chapters"])
    assert execute_chapters.main() == 0
    assert seen == [str(tmp_path / "mydata")]


def test_without_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CHECKOUT", None)
    monkeypatch.chdir(tmp_path)
    for variable, _ in FOLDERS.values():
        monkeypatch.delenv(variable, raising=False)
    assert paths.results_folder() == tmp_path / "atif" / "results"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.data_folder() == tmp_path / "xdg" / "atif_lib"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert paths.data_folder() == tmp_path / ".cache" / "atif_lib"


def test_without_a_checkout_own_records_stand_beside_those_of_the_package(tmp_path, monkeypatch):
    shipped = tmp_path / "package" / "shipped"
    (shipped / "results").mkdir(parents=True)
    for name in ("toy-fixed-laptop-s0.json", "toy-laplace-laptop-s0.json"):
        (shipped / "results" / name).write_bytes((ROOT / "data" / "results" / name).read_bytes())
    monkeypatch.setattr(paths, "CHECKOUT", None)
    monkeypatch.setattr(paths, "SHIPPED", shipped)
    monkeypatch.delenv("ATIF_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)
    assert paths.weights_folders() == (tmp_path / "atif" / "weights", shipped / "weights")
    assert [r.run_id for r in records.load_all()] == ["toy-fixed-laptop-s0", "toy-laplace-laptop-s0"]
    with records.recording("toy-fixed", "laptop", 0, {"mine": True}) as draft:
        pass
    assert draft.path.parent == tmp_path / "atif" / "results"
    mine, other = records.load_all()
    assert (mine.run_id, mine.config, other.run_id) == ("toy-fixed-laptop-s0", {"mine": True}, "toy-laplace-laptop-s0")


def test_until_the_new_file_is_whole_the_old_one_stands(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half(file):
        file.write(b"ha")
        assert path.read_text() == "old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paths.write_whole(path, half)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["file"])
    paths.write_whole(path, lambda file: file.write(b"new"))
    assert (path.read_text(), os.listdir(tmp_path)) == ("new", ["file"])


@pytest.mark.parametrize("parent", ["missing", "file"])
def test_what_cannot_be_written_is_named_where_its_folder_is_none(tmp_path, parent):
    (tmp_path / "file").touch()
    path = tmp_path / parent / "new"
    with pytest.raises(OSError, match="cannot write ") as found:
        paths.write_whole(path, lambda file: file.write(b"new"))
    assert str(found.value).startswith(f"cannot write {path} (there is none yet): ")
