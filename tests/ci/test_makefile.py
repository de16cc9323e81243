"""The Makefile, with a shell script in Python's place: the order of the steps, and which environment it touches."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt" or not shutil.which("make"), reason="needs make and a shell")

PYTHON = """#!/bin/sh
echo "begin $*" >> "$LOG"
sleep 0.1
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac
echo "end $*" >> "$LOG"
case "$*" in
    *"$FAILING"*) exit "$STATUS" ;;
esac
"""
STEPS = [
    "atif_lib data cifar10",
    "atif_lib report --check",
    "ci.execute_chapters --profile smoke --jobs 2",
    "ci.build_book",
    "ci.make_colab",
    "ci.slides",
    "ci.assignments",
    "ci.check_book",
]


@pytest.fixture
def folder(tmp_path):
    """Make a checkout of what the Makefile itself reads, and a Python that notes what it is asked to do."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return folder


def make(folder, *arguments, failing="nothing fails", status=1, **environment):
    """Run make; return its exit status, what it said, and the steps that it ran, those of `setup` left out."""
    (log := folder.parent / "log").write_text("")
    ours = ("MAKE", "MFLAGS", "PROFILE", "JOBS", "VENV", "DRAFT", "PYTHON")  # make hands on what it was given
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    variables = {"LOG": str(log), "FAILING": failing, "STATUS": str(status)} | environment
    command = ["make", *arguments, f"PYTHON={folder.parent / 'python'}"]
    done = subprocess.run(command, cwd=folder, env=kept | variables, capture_output=True, text=True, timeout=60)
    lines = log.read_text().splitlines()
    assert lines[1::2] == [line.replace("begin", "end", 1) for line in lines[::2]], "steps ran side by side"
    steps = [line.removeprefix("begin -m ") for line in lines[::2] if "-c " not in line]
    return done.returncode, done.stdout + done.stderr, [step for step in steps if not step.startswith(("venv", "pip"))]


@pytest.mark.parametrize(("arguments", "flags"), [([], ""), (["-j4"], ""), ([], "-j4"), ([], "j4")])
def test_the_steps_of_the_book_run_one_after_another(folder, arguments, flags):
    assert make(folder, *arguments, "book", MAKEFLAGS=flags)[::2] == (0, STEPS)


def test_a_book_is_not_begun_where_records_and_text_disagree(folder):
    status, _, steps = make(folder, "book", failing="report --check")
    assert (status, steps) == (2, STEPS[:2])


def test_a_site_by_itself_is_held_to_the_records_too(folder):
    assert make(folder, "site")[2] == STEPS[1:2] + STEPS[3:7]


def test_without_cifar10_the_book_goes_on_but_not_after_an_interrupt(folder):
    status, said, steps = make(folder, "book", failing="data cifar10", status=2)
    assert (status, steps) == (0, STEPS)
    assert "digits instead" in said
    status, said, steps = make(folder, "book", failing="data cifar10", status=130)
    assert (status, steps) == (2, STEPS[:1])
    assert "digits instead" not in said


def test_a_set_up_that_was_interrupted_goes_on(folder):
    assert make(folder, "setup", failing="pip install")[0] == 2
    assert make(folder, "setup")[0] == 0
    assert make(folder, "distclean")[0] == 0
    assert not (folder / ".venv").exists()


@pytest.mark.parametrize("target", ["setup", "distclean"])
@pytest.mark.parametrize("made", ["by hand", "by another checkout"])
def test_an_environment_of_somebody_else_is_left_alone(folder, target, made):
    other = folder.parent / "other"
    if made == "by another checkout":
        shutil.copytree(folder, folder.parent / "their")
        make(folder.parent / "their", "setup", f"VENV={other}")
        with (folder / "requirements.lock").open("a") as file:
            file.write("# renewed\n")
    else:
        (other / "bin").mkdir(parents=True)
        (other / "bin" / "python").write_text("theirs")
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    status, said, _ = make(folder, target, f"VENV={other}")
    assert status == 2
    assert f"VENV={other}: make did not make it in this folder" in said
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before


def test_make_from_another_folder_and_an_empty_name_do_nothing(folder):
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    status, said, _ = make(elsewhere, "-f", "../checkout/Makefile", "setup")
    assert (status, list(elsewhere.iterdir())) == (2, [])
    assert "make -C ../checkout/" in said
    status, said, _ = make(folder, "setup", "VENV=")
    assert status == 2
    assert "VENV= is empty" in said
