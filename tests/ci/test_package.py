"""The package as pip installs it: what is in it, and what its commands do where there is no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

from ci.run_notebooks import copy_packaged  # noqa: E402

pytestmark = pytest.mark.slow  # a wheel is built and installed, and each test starts Python and torch anew
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from a copy of the checkout, with fetched data and a record of a smoke run in it."""
    source, target = tmp_path_factory.mktemp("wheel") / "source", tmp_path_factory.mktemp("wheel")
    copy_packaged(ROOT, source)
    (source / "data" / "cache").mkdir()
    for name in ("cache/cifar10.bin", "cache/a.json", "results/toy-fixed-smoke-s0.json"):
        (source / "data" / name).write_text("never packaged", encoding="utf-8")
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", target]
    subprocess.run([*PIP, "wheel", *options, source], check=True)
    return next(target.iterdir())


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """Install the wheel into a folder of its own; no command may change it."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([*PIP, "install", "--no-deps", "--quiet", "--target", folder, wheel], check=True)
    before = contents(folder)
    yield folder
    assert contents(folder) == before


def contents(folder):
    return {path: path.stat().st_size for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture
def atif(site, tmp_path):
    """Run a command of the installed package in an empty folder; return status, output and errors."""

    def call(*arguments, code=("-m", "atif_lib")):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ATIF_")}
        environment = kept | {"PYTHONPATH": str(site), "PYTHONUTF8": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
        (tmp_path / "work").mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, *code, *arguments],
            cwd=tmp_path / "work",
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return call


def test_the_package_has_code_manifest_records_and_weights_and_no_data(wheel):
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "atif_lib").rglob("*.py")} | {"atif_lib/py.typed"}
    shipped = [*(ROOT / "data" / "results").rglob("*.json"), *(ROOT / "data" / "weights").glob("*.safetensors")]
    names = {f"atif_lib/shipped/{path.relative_to(ROOT / 'data').as_posix()}" for path in shipped}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        scripts = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt")))
    smoke = {name for name in names if "-smoke-s" in name}
    assert found == code | (names - smoke) | {"atif_lib/shipped/manifest.yml"}
    assert b"atif = atif_lib.cli:main" in scripts
    assert wheel.stat().st_size < 5e6


def test_it_is_the_installed_package_that_runs(atif, site):
    code = ("-c", "from atif_lib import paths; print(paths.__file__, paths.CHECKOUT)")
    assert atif(code=code) == (0, f"{site / 'atif_lib' / 'paths.py'} None\n", "")


@pytest.mark.parametrize("arguments", [("table", "1"), ("report", "--format", "readme"), ("report", "--check")])
def test_tables_and_report_are_those_of_the_checkout(atif, arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATIF_")}
    here = subprocess.run(
        [sys.executable, "-m", "atif_lib", *arguments],
        cwd=ROOT,
        env=environment | {"PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert atif(*arguments) == (0, here.stdout, "")


def test_list_and_the_report_s_page(atif):
    assert atif("list", "toy", "fixed")[:1] == (0,)
    assert atif("report", "--format", "md")[1].startswith("# ")


def test_weights_come_with_it_and_images_are_asked_for(atif):
    status, output, errors = atif("evaluate", "cifar10-small-relu-laptop-s0")
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert "to fetch it, run: python -m atif_lib data cifar10" in errors


def test_a_figure_asks_for_a_checkout(atif):
    assert atif("figure", "3") == (
        2,
        "",
        "atif_lib: figure runs a chapter of the book: it needs a checkout of the repository\n",
    )


def test_a_record_lands_in_the_working_folder_and_the_command_says_so(atif, tmp_path):
    results = tmp_path / "work" / "atif" / "results"
    status, output, errors = atif("train", "toy-fixed", "--profile", "smoke")
    assert status == 0, errors
    assert output.endswith(f", in {results}\n")
    assert os.listdir(results) == ["toy-fixed-smoke-s0.json"]
    assert os.listdir(tmp_path / "work") == ["atif"]
