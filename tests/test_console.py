"""Text goes out whatever the code page, and a reader who leaves early ends a command without a word."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atif_lib import cli as command_line
from atif_lib import console
from ci import browser

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [path for path in sorted((ROOT / "ci").glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]
COMMANDS = ["atif_lib", *(f"ci.{path.stem}" for path in SCRIPTS)]


@pytest.fixture
def environment(tmp_path, digits):
    """Committed records, a data root and a library that are ours; no word on the encoding."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONIO", "ATIF_"))}
    return found | {"PYTHONPATH": str(ROOT), "ATIF_DATA": str(tmp_path)}


def run(command, environment, **options):
    return subprocess.run([sys.executable, "-m", *command], env=environment, stderr=subprocess.PIPE, **options)


def complaint(ran):
    """What a command says beside its output, but for the word that there is no browser, where there is none."""
    return "".join(line for line in ran.stderr.decode().splitlines(keepends=True) if browser.MISSING not in line)


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
@pytest.mark.parametrize("command", [["report"], ["table", "1"], ["list"], ["data", "digits"]])
def test_what_a_code_page_lacks_becomes_an_escape(command, encoding, environment, tmp_path):
    with (tmp_path / "out").open("wb") as file:
        ran = run(["atif_lib", *command], environment | {"PYTHONIOENCODING": encoding}, stdout=file)
    assert (ran.returncode, ran.stderr.decode(encoding).count("charmap")) == (0, 0)
    assert (tmp_path / "out").read_bytes().decode(encoding).strip()


def test_a_file_is_utf_8_whatever_the_locale(environment, tmp_path):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}  # as a code page: ASCII
    with (tmp_path / "out").open("wb") as file:
        ran = run(["atif_lib", "report"], environment | locale, stdout=file)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert "≥" in (tmp_path / "out").read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's pipes")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [["atif_lib", "report"], ["atif_lib", "list"], ["ci.check_book"]], ids=" ".join)
def test_a_closed_pipe_ends_quietly(command, unbuffered, environment, tmp_path):
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text('<html lang="en"><h1>Book</h1></html>')
    environment["PYTHONUNBUFFERED"] = unbuffered
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = run(command, environment, stdout=writer, cwd=tmp_path)
    finally:
        os.close(writer)
    assert (ran.returncode, complaint(ran)) == (console.CLOSED, "")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's pipes")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_ends_quietly(command, environment):
    """The scripts in ci/ too, which are slow to run: one without `console.command` would tell of the pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = run([command, "--help"], environment | {"PYTHONUNBUFFERED": ""}, stdout=writer, cwd=ROOT)
    finally:
        os.close(writer)
    assert complaint(ran) == ""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX's pipes")
def test_both_streams_closed_end_quietly(environment):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "atif_lib", "train", "nothing"]
    try:
        ended = subprocess.run(command, env=environment, stdout=writer, stderr=writer).returncode
    finally:
        os.close(writer)
    assert ended == console.CLOSED


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [["list"], ["list", "toy"]])
def test_a_full_disk_is_told(command, unbuffered, environment):
    with open("/dev/full", "wb") as full:
        ran = run(["atif_lib", *command], environment | {"PYTHONUNBUFFERED": unbuffered}, stdout=full)
    assert (ran.returncode, ran.stderr.decode()) == (2, "atif_lib: [Errno 28] No space left on device\n")


def test_without_a_console_nothing_is_prepared(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as under pythonw
    monkeypatch.setattr(sys, "stderr", None)
    assert command_line.main(["list", "toy"]) == 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 seconds"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (5399, "90 minutes"),
        (5400, "1.5 hours"),
        (9e4, "25.0 hours"),
    ],
)
def test_a_duration_is_said_in_the_unit_that_fits(seconds, said):
    assert console.duration(seconds) == said
