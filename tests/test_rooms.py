"""The rooms of the library are layers: who imports whom is written in pyproject.toml, and import-linter reads it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = "import sys; from importlinter import cli; sys.exit(cli.lint_imports(no_cache=True, no_logo=True))"


def lint(folder):
    """Run import-linter on the packages in `folder`, not on those that are installed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", LINT]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout + done.stderr


def test_every_room_imports_those_below_it_only():
    status, said = lint(ROOT)
    assert status == 0, said


WRONG = {
    "neurons/atif.py": ("from atif_lib.networks import activations", "atif -> atif_lib.networks"),  # one above
    "training/recipe.py": ("import atif_lib.cli", "recipe -> atif_lib.cli"),
    "data/load.py": ("from atif_lib.results import records", "load -> atif_lib.results"),  # one beside
    "checks.py": ("from atif_lib import paths", "checks -> atif_lib.paths"),
    "cli.py": ("from ci import pages", "cli -> ci.pages"),  # what builds the book
    "results/page.py": ("import book", "page -> book"),
}


@pytest.mark.parametrize(
    "wrong", [WRONG, {"kitchen/__init__.py": ("pass", "atif_lib.kitchen")}], ids=["imports", "a room without a place"]
)
def test_wrong_imports_are_found(wrong, tmp_path):
    for name in ("atif_lib", "ci"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, (line, _) in wrong.items():
        path = tmp_path / "atif_lib" / file
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="utf-8") as source:
            source.write(f"\n\ndef late():\n    {line}\n")
    status, said = lint(tmp_path)
    assert status == 1, said
    for _, arrow in wrong.values():
        assert arrow in said
