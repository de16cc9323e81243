"""The publishing pipeline: executing and cleaning chapters, staging, checking the site, and the files that set up."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from base64 import b64decode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import nbformat
import psutil
import pytest
import torch
import training_worker as worker
import yaml
from fontTools.ttLib import TTFont
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]

import atif_lib  # noqa: E402
from atif_lib.networks.architectures import vgg_small  # noqa: E402
from atif_lib.neurons import ATIFu  # noqa: E402
from ci import (  # noqa: E402
    build_book,
    check_book,
    execute_chapters,
    icons,
    mathjax,
    notebooks,
    pages,
    processes,
    project,
    slides,
)

CHAPTER = """# %% [markdown]
# # {title}

# %% tags=["parameters"]
profile = "smoke"

# %%
{code}
"""


@pytest.fixture
def book(tmp_path):
    """Make a tiny book: two chapters, a library of one file and the files that a run depends on."""
    for folder in ("book", "atif_lib", "data/results", "ci"):
        (tmp_path / folder).mkdir(parents=True)
    write_chapter(tmp_path, "01_one", 'print("profile", profile)')
    write_chapter(tmp_path, "02_two", "1 + 1")
    (tmp_path / "atif_lib" / "neurons.py").write_text("THRESHOLD = 1\n")
    (tmp_path / "data" / "manifest.yml").write_text("figures: []\n")
    (tmp_path / "requirements.lock").write_text("torch==1\n")
    return project.Project(tmp_path)


def write_chapter(root, name, code):
    (root / "book" / f"{name}.py").write_text(CHAPTER.format(title=name, code=code))


@pytest.fixture
def ran(monkeypatch):
    """Stand in for papermill: note which chapters run; one that holds `1 / 0` fails as it would."""
    names = []

    def run_all(project, sources, profile, jobs):
        for source in sources:
            names.append(source.stem)
            notebook = notebooks.read_chapter(source)
            failed = "1 / 0" in source.read_text()
            yield (
                source,
                {"error": "ZeroDivisionError"}
                if failed
                else {
                    "notebook": notebook,
                    "started": "2026-01-02T03:04:05+00:00",
                    "seconds": 1.5,
                },
            )

    monkeypatch.setattr(execute_chapters, "run_all", run_all)
    return names


def rerun(book, ran, profile="smoke"):
    ran.clear()
    errors = execute_chapters.execute(book, profile)
    return list(ran), errors


# --- executing -------------------------------------------------------------------------------------------------------


def test_nothing_changed_runs_nothing(book, ran):
    assert rerun(book, ran) == (["01_one", "02_two"], {})
    assert rerun(book, ran) == ([], {})


@pytest.mark.parametrize(
    "change",
    ["atif_lib/neurons.py", "atif_lib/deeper/new.py", "data/manifest.yml", "data/results/a.json", "requirements.lock"],
)
def test_a_change_that_all_depend_on_runs_all(book, ran, change):
    rerun(book, ran)
    path = book.root / change
    path.parent.mkdir(exist_ok=True)
    path.write_text("changed\n")
    assert rerun(book, ran)[0] == ["01_one", "02_two"]


def test_a_changed_chapter_runs_alone(book, ran):
    rerun(book, ran)
    write_chapter(book.root, "02_two", "2 + 2")
    assert rerun(book, ran)[0] == ["02_two"]


def test_another_profile_and_new_data_run_all(book, ran, monkeypatch):
    monkeypatch.delenv("ATIF_DATA", raising=False)
    rerun(book, ran)
    assert len(rerun(book, ran, "laptop")[0]) == 2
    (book.root / "data" / "cache").mkdir()
    (book.root / "data" / "cache" / "cifar10.bin").write_bytes(b"1")
    assert len(rerun(book, ran, "laptop")[0]) == 2
    assert rerun(book, ran, "laptop")[0] == []


def test_a_lost_notebook_is_made_again(book, ran):
    rerun(book, ran)
    book.notebook(Path("01_one.py")).unlink()
    assert rerun(book, ran)[0] == ["01_one"]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"cells": []}', b"\xff"])
def test_a_damaged_notebook_or_record_is_made_again(book, ran, damage):
    rerun(book, ran)
    whole = book.notebook(Path("01_one.py")).read_bytes()
    book.notebook(Path("01_one.py")).write_bytes(damage)
    assert rerun(book, ran)[0] == ["01_one"]
    assert book.notebook(Path("01_one.py")).read_bytes() == whole
    book.status.write_bytes(damage)
    assert rerun(book, ran)[0] == ["01_one", "02_two"]
    assert rerun(book, ran)[0] == []


def test_a_lost_or_changed_figure_is_made_again(book, ran, monkeypatch):
    def run_all(project, sources, profile, jobs):
        for source in sources:
            ran.append(source.stem)
            project.figures.mkdir(exist_ok=True)
            (project.figures / f"{source.stem}.csv").write_text("x\n1\n")
            cell = output_cell(figure(source.stem))
            notebook = nbformat.v4.new_notebook(cells=[*notebooks.read_chapter(source).cells, cell])
            yield source, {"notebook": notebook, "started": "2026-01-02T03:04:05+00:00", "seconds": 1.5}

    monkeypatch.setattr(execute_chapters, "run_all", run_all)
    assert rerun(book, ran)[0] == ["01_one", "02_two"]
    (book.figures / "01_one.csv").unlink()
    assert rerun(book, ran)[0] == ["01_one"]
    (book.figures / "02_two.csv").write_text("x\n2\n")
    assert rerun(book, ran)[0] == ["02_two"]
    assert rerun(book, ran)[0] == []


def test_records_in_another_folder_count_and_one_that_is_not_there_is_an_error(book, ran, monkeypatch, tmp_path):
    (own := tmp_path / "own").mkdir()
    monkeypatch.setenv("ATIF_RESULTS", str(own))
    rerun(book, ran)
    (own / "a.json").write_text("{}")
    assert rerun(book, ran)[0] == ["01_one", "02_two"]
    monkeypatch.setenv("ATIF_RESULTS", str(tmp_path / "wno"))
    with pytest.raises(FileNotFoundError, match=r"^ATIF_RESULTS=.*wno is no folder"):
        rerun(book, ran)


def test_weights_made_here_count_but_for_those_of_smoke_and_validation_runs(book, ran, monkeypatch, tmp_path):
    """A chapter may take them in place of the committed ones."""
    monkeypatch.delenv("ATIF_RUNS", raising=False)
    rerun(book, ran)

    def weights(folder, content):
        (folder := book.root / folder).mkdir(parents=True, exist_ok=True)
        (folder / "weights.safetensors").write_bytes(content)
        return rerun(book, ran)[0]

    for content in (b"1", b"2"):
        assert weights("_build/runs/net-laptop-s0", content) == ["01_one", "02_two"]
    assert rerun(book, ran)[0] == []
    for other in ("_build/runs/net-smoke-s0", "_build/runs/net-laptop-s0-validation", "own/net-laptop-s0"):
        assert weights(other, b"3") == []
    monkeypatch.setenv("ATIF_RUNS", str(book.root / "own"))
    assert rerun(book, ran)[0] == ["01_one", "02_two"]


def test_a_failed_chapter_is_never_published(book, ran):
    rerun(book, ran)
    write_chapter(book.root, "01_one", "1 / 0")
    assert rerun(book, ran)[1] == {"01_one": "ZeroDivisionError"}
    assert [path.name for path in (book.stage / "book").iterdir()] == ["02_two.ipynb"]
    assert list(json.loads(book.status.read_text())) == ["02_two"]
    assert rerun(book, ran)[0] == ["01_one"]


def test_a_removed_chapter_leaves_the_site(book, ran):
    rerun(book, ran)
    (book.root / "book" / "02_two.py").unlink()
    rerun(book, ran)
    assert not book.notebook(Path("02_two.py")).exists()
    assert list(json.loads(book.status.read_text())) == ["01_one"]


def test_papermill_runs_and_fails_a_real_chapter(book):
    write_chapter(
        book.root, "01_one", "print(profile); import os, pathlib; pathlib.Path(os.environ['ATIF_FIGURES']).as_posix()"
    )
    write_chapter(book.root, "02_two", "raise ValueError('threshold=0')")
    errors = execute_chapters.execute(book, "laptop", jobs=2)
    assert list(errors) == ["02_two"]
    assert "ValueError: threshold=0" in errors["02_two"]
    notebook = nbformat.read(book.notebook(Path("01_one.py")), as_version=4)
    nbformat.validate(notebook)
    outputs = notebook.cells[-1].outputs
    assert outputs[0].text == "laptop\n"
    assert outputs[1].data["text/plain"] == "'./_build/figures'"
    assert "papermill" not in json.dumps(notebook)
    run = json.loads(book.status.read_text())["01_one"]
    assert run["profile"] == "laptop"
    assert run["seconds"] > 0
    assert set(run["versions"]) == {"python", "torch", "spikingjelly", "jupyter-book"}


@pytest.mark.parametrize(("failures", "runs"), [(2, True), (3, False)])
def test_a_kernel_that_does_not_start_is_started_again(book, monkeypatch, failures, runs):
    """Two kernels that start at once can choose the same port."""
    write_chapter(book.root, "01_one", "1")
    died = "Kernel died before replying to kernel_info"
    left = [RuntimeError(died)] * failures
    monkeypatch.setattr(os, "environ", dict(os.environ))  # it sets variables
    monkeypatch.setattr("papermill.execute_notebook", lambda chapter, *_, **__: fail(left) if left else chapter)
    found = execute_chapters.run_notebook(book.root / "book" / "01_one.py", "smoke", book.root, None)
    assert ("notebook" in found) == runs
    assert runs or found["error"] == f"RuntimeError: {died}"


def fail(errors):
    raise errors.pop()


def test_a_chapter_runs_the_library_beside_it(book):
    """Not that of whichever checkout an environment was set up from."""
    (book.root / "atif_lib" / "__init__.py").write_text("PLACE = 'beside'\n")
    write_chapter(book.root, "01_one", "import atif_lib; print(atif_lib.PLACE)")
    assert execute_chapters.execute(book, "smoke") == {}
    notebook = nbformat.read(book.notebook(Path("01_one.py")), as_version=4)
    assert notebook.cells[-1].outputs[0].text == "beside\n"


ENDLESS = """
import os, pathlib, time
pathlib.Path(f"kernel-{os.getpid()}").touch()
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent")
@pytest.mark.parametrize("whom", ["a terminal to all of them", "kill to the command"])
def test_an_interrupt_ends_all_that_runs_and_the_next_run_goes_on(book, whom):
    write_chapter(book.root, "02_two", ENDLESS)
    write_chapter(book.root, "03_three", ENDLESS)
    write_chapter(book.root, "04_four", ENDLESS)
    command = [sys.executable, "-m", "ci.execute_chapters", "--jobs", "2", "--root", str(book.root)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        wait_for(lambda: len(list((book.root / "book").glob("kernel-*"))) == 2)
        wait_for(lambda: "01_one" in execute_chapters.read_status(book))  # written while the third chapter starts
        started = psutil.Process(process.pid).children(recursive=True)
        if whom.startswith("kill"):
            process.terminate()
        else:
            os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=worker.PATIENCE)[1]
    finally:
        process.kill()
    wait_for(lambda: all(map(ended, started)))
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.endswith("interrupted; the same command goes on from here\n")
    assert [path.name for path in (book.stage / "book").iterdir()] == ["01_one.ipynb"]
    assert list(json.loads(book.status.read_text())) == ["01_one"]
    assert len(list((book.root / "book").glob("kernel-*"))) == 2, "another chapter was begun"
    for name in ("02_two", "03_three", "04_four"):
        write_chapter(book.root, name, "1 + 1")
    assert execute_chapters.execute(book, "smoke") == {}
    assert len(json.loads(book.status.read_text())) == 4


def ended(process):
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


GROUPED = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def test_to_stop_a_pool_ends_what_its_processes_started_and_begins_nothing(tmp_path):
    def run(name):
        return subprocess.run([sys.executable, "-c", GROUPED, tmp_path / name], check=False)

    def begun():
        return (tmp_path / "one").is_file() and (tmp_path / "one").read_text()

    before = {child.pid for child in psutil.Process().children()}  # of other tests, as torch's compilers are
    with ThreadPoolExecutor(1) as pool:
        first, second = pool.submit(run, "one"), pool.submit(run, "two")
        wait_for(begun)
        grandchild = psutil.Process(int(begun()))
        processes.stop(pool, [child for child in psutil.Process().children() if child.pid not in before])
    assert first.result().returncode
    assert second.cancelled()
    wait_for(lambda: ended(grandchild))


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_a_half_built_site_is_not_left(tmp_path, monkeypatch, failure, capsys):
    def half(book, draft):
        book.html.mkdir(parents=True)
        raise failure

    monkeypatch.setattr(build_book, "stage_pages", lambda book, draft: None)
    monkeypatch.setattr(build_book, "build", half)
    monkeypatch.setattr(sys, "argv", ["build_book", "--root", str(tmp_path)])
    if failure is KeyboardInterrupt:
        assert build_book.main() == 130
    else:
        with pytest.raises(OSError):  # noqa: PT011 - of any kind
            build_book.main()
    assert not (tmp_path / "_build" / "html").exists()


def wait_for(condition, seconds=90):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


# --- cleaning --------------------------------------------------------------------------------------------------------


def output_cell(*outputs, tags=()):
    return nbformat.v4.new_code_cell("x", outputs=list(outputs), metadata={"tags": list(tags)})


def cleaned(*cells, names=()):
    return notebooks.clean(nbformat.v4.new_notebook(cells=list(cells)), dict(names)).cells


def stream(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def figure(name):
    facts = {"atif_figure": {"name": name, "alt": f"alt {name}", "caption": "$x$ of {cite:t}`a`"}}
    return nbformat.v4.new_output("display_data", data={"image/svg+xml": "<svg/>"}, metadata=facts)


def test_a_chapter_needs_a_parameters_cell(tmp_path):
    (tmp_path / "01_x.py").write_text("# %%\n1\n")
    with pytest.raises(ValueError, match=r"01_x\.py.*parameters"):
        notebooks.read_chapter(tmp_path / "01_x.py")


@pytest.mark.parametrize("text", ["Text only.", "## A smaller heading", "#hashtag"])
def test_a_chapter_needs_a_title(tmp_path, text):
    (tmp_path / "01_x.py").write_text(f"# %% [markdown]\n# {text}\n\n# %% tags=[\"parameters\"]\nprofile = 'smoke'\n")
    with pytest.raises(ValueError, match=r"^01_x\.py: no title; .*# Title"):
        notebooks.read_chapter(tmp_path / "01_x.py")


def test_the_injected_cell_and_the_timings_go():
    timed = nbformat.v4.new_code_cell("x", metadata={"papermill": {"duration": 1}, "execution": {}, "tags": ["a"]})
    parameters = output_cell(tags=["parameters"])
    cells = cleaned(parameters, output_cell(tags=["injected-parameters"]), timed)
    assert [cell.metadata for cell in cells] == [{"tags": ["parameters", "remove-input"]}, {"tags": ["a"]}]
    assert [cell.id for cell in cells] == ["cell-0", "cell-1"]


def test_progress_bars_and_standard_error_go():
    bar = "epoch 1\rloss 1\n 40%|████      | 2/5 [00:01<00:02]\rdone\n100%|██████████| 5/5 [00:02<00:00, 2it/s]\n"
    (cell,) = cleaned(output_cell(stream(bar), stream("warning", "stderr"), stream("3it [00:01, 2it/s]\n")))
    assert [output.text for output in cell.outputs] == ["loss 1\ndone\n"]


def test_no_folder_of_the_machine_is_left():
    html = nbformat.v4.new_output("execute_result", data={"text/html": "<p>/home/me/book/a</p>"})
    (cell,) = cleaned(output_cell(stream("/home/me/x\n"), html), names={"/home/me": "~", "/home/me/book": "."})
    assert (cell.outputs[0].text, cell.outputs[1].data["text/html"]) == ("~/x\n", "<p>./a</p>")


def test_each_figure_gets_a_cell_with_what_myst_nb_reads():
    cells = cleaned(output_cell(figure("a"), stream("text"), figure("b"), tags=["hide-input"]))
    assert [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in cells] == ["fig-a", None, "fig-b"]
    assert cells[0].metadata.mystnb.image.alt == "alt a"
    caption = cells[0].metadata.mystnb.figure.caption
    assert caption.startswith("$x$ of {cite:t}`a` ")
    links = re.findall(r'<a href="\.\./figures/a\.(\w+)" download>(.+?)</a>', caption)
    assert [kind for kind, _ in links] == ["svg", "png", "csv"]
    names = [re.sub("<.*?>", "", text) for _, text in links]  # what a screen reader says begins with what is seen
    assert names == ["SVG drawing of the figure a", "PNG image of the figure a", "CSV data of the figure a"]
    assert [cell.metadata.tags for cell in cells] == [["hide-input"], ["remove-input"], ["remove-input"]]
    assert all(cell.source for cell in cells)  # MyST-NB skips a cell without source, outputs and all
    assert "atif_figure" not in json.dumps(cells)


def test_the_answer_to_a_prediction_is_folded_apart_from_the_code():
    cells = cleaned(output_cell(stream("text"), figure("a"), tags=["hide-input", "hide-output"]))
    assert [len(cell.outputs) for cell in cells] == [0, 1, 1]
    for answer in cells[1:]:
        assert answer.metadata.tags == ["hide-output", "remove-input"]
        assert answer.metadata.mystnb.code_prompt_show == "Show the answer"
    assert cells[2].metadata.mystnb.figure.name == "fig-a"


def test_a_folded_cell_says_that_it_is_the_library_s():
    (cell,) = cleaned(output_cell(stream("text"), tags=["hide-cell"]))
    assert cell.metadata.mystnb.code_prompt_show == "Show the library's code"


# --- staging and pages -----------------------------------------------------------------------------------------------


def test_an_unwritten_page_stops_the_build_unless_it_is_a_draft(tmp_path, monkeypatch, capsys):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.md").write_text("# A\n")
    parts = [{"caption": "One", "chapters": [{"file": "book/a"}, {"file": "book/b"}]}]
    toc = {"root": "book/a", "parts": [*parts, {"caption": "Two", "chapters": [{"file": "book/c"}]}]}
    with pytest.raises(FileNotFoundError, match="book/b, book/c"):
        build_book.staged_toc(toc, tmp_path, draft=False)
    monkeypatch.setattr(build_book, "stage_pages", lambda *_: build_book.staged_toc(toc, tmp_path, draft=False))
    monkeypatch.setattr(sys, "argv", ["build_book", "--root", str(tmp_path)])
    assert build_book.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("_toc.yml names pages that do not exist: book/b, book/c; ")
    assert said.count("\n") == 1
    draft = build_book.staged_toc(toc, tmp_path, draft=True)
    assert draft["parts"] == [{"caption": "One", "chapters": [{"file": "book/a"}]}]


def test_the_address_is_the_placeholder_until_a_workflow_names_one():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    unpublished = project.Repository("https://github.com/your_name/atif-book", "main")
    assert not unpublished.published
    assert "repository" not in build_book.staged_config(config, unpublished)
    here = project.repository(ROOT, {"GITHUB_REPOSITORY": "owner/name"})
    assert (here.url, here.slug, here.published) == ("https://github.com/owner/name", "owner/name", True)
    assert build_book.staged_config(config, here)["html"]["use_repository_button"] is True


def test_the_address_stands_in_one_place():
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    files = [path for folder in ("atif_lib", "book", "ci", ".github") for path in (ROOT / folder).rglob("*.*")]
    texts = {path: path.read_text() for path in files if path.suffix in {".py", ".md", ".yml", ".html"}}
    assert [path for path, text in texts.items() if url in text] == []


def test_the_status_page_shows_each_run():
    versions = {"python": "3.12.1", "torch": "2"}
    run = {"started": "2026-01-02T03:04:05+00:00", "seconds": 1.5, "profile": "smoke", "commit": "abc"}
    page = pages.status_page({"01_one": {**run, "versions": versions}})
    assert "| {doc}`01_one` | 2026-01-02 03:04 | 1.5 | smoke | `abc` |" in page
    assert "python 3.12.1, torch 2" in page


def test_the_summary_takes_its_numbers_from_the_records():
    source = (ROOT / "book" / pages.SUMMARY).read_text(encoding="utf-8")
    page = pages.summary_page(source)
    assert "{{" not in page
    assert re.search(r"One neuron learns its threshold: \d+\.\d+\s±\s0\.\d+\sdB", page)
    assert re.search(r"claims: \d+ reproduced, .*\. Of these, .*: .*\d+ not run", page, re.DOTALL)
    with pytest.raises(slides.SlideError, match=r"summary\.md: '3\.01 dB' is typed"):
        pages.summary_page("It gains 3.01 dB.")


def test_every_numbered_chapter_stands_at_its_number():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    numbered = [part for part in toc["parts"] if part.get("numbered")]
    names = [Path(entry["file"]).name for part in numbered for entry in part["chapters"]]
    assert [int(name[:2]) for name in names] == list(range(1, len(names) + 1))


def test_equations_take_their_numbers_from_their_tags():
    nodes = pytest.importorskip("docutils.nodes")
    from ci.equation_tags import number_from_tag

    node = nodes.math_block("", "a = b \\tag{7}", label="eq-7")
    assert number_from_tag(node) == "7"
    assert node.astext() == "a = b"
    assert number_from_tag(nodes.math_block("", "a = b", label=None)) is None


def test_a_link_to_a_chapter_leads_to_its_page():
    from ci.chapter_links import link_pages

    source = ["[](02_two.py), [one](01_one.py#sec), [library](../atif_lib/neurons.py)"]
    link_pages(None, "book/01_one", source)
    assert source == ["[](02_two.ipynb), [one](01_one.ipynb#sec), [library](../atif_lib/neurons.py)"]


# --- checking --------------------------------------------------------------------------------------------------------

PAGE = '<html lang="en"><head>{head}</head><body><h1 id="top">Title</h1>{body}</body></html>'


@pytest.fixture
def site(tmp_path):
    """Make a faultless site of two pages; return how to put something into one and list the faults."""
    (tmp_path / "other.html").write_text(PAGE.format(head="", body='<p id="here">Text</p>'))

    def faults(body="", head="", page=PAGE):
        (tmp_path / "index.html").write_text(page.format(head=head, body=body))
        return [fault for _, fault in check_book.check_site(tmp_path, ("/srv/build/book",))]

    return faults


@pytest.mark.parametrize(
    "body",
    [
        '<a href="https://example.org">a link may lead anywhere</a><a href="other.html#here">and inside</a>',
        '<a href="#top">up</a><img src="data:image/png;base64,AA" alt="a dot">',
        "<pre>{eq}`seven`, /home/me/x in code is checked, <code>{ref}`a`</code></pre>".replace("/home/me/x", "x"),
        '<svg aria-hidden="true"></svg><svg><title>A spike</title></svg>',
    ],
)
def test_a_faultless_page_has_no_faults(site, body):
    assert site(body) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<script src="https://cdn.example.org/a.js"></script>', "loads from the network"),
        ('<img src="//example.org/a.png" alt="a">', "loads from the network"),
        ("<style>@import 'https://example.org/a.css';</style>", "a style loads"),
        ('<p style="background:url(https://example.org/a.png)">a</p>', "a style loads"),
        ('<script>const u = "https://unpkg.com/thebe";</script>', "names a CDN"),
        ('<img src="data:,">', "no alt text"),
        ('<img src="data:," alt=" ">', "no alt text"),
        ("<svg></svg>", "an inline <svg>"),
        ('<a href="gone.html">x</a>', "broken link"),
        ('<a href="other.html#gone">x</a>', "broken anchor"),
        ('<a href="#gone">x</a>', "broken anchor"),
        ("<h1>Two</h1>", "2 <h1>"),
        ("<p>see {cite:t}`castagnetti2023`</p>", "not rendered"),
        ("<p>see {eq}`eq-7`</p>", "not rendered"),
        ("<p>\n:::{note}\n</p>", "not rendered"),
        ("<pre>/home/someone/book/x.py</pre>", "path of the building machine"),
        ("<pre>/srv/build/book/x.py</pre>", "path of the building machine"),
        (r'<span class="math">\(\mathfrak{p}\)</span>', r"\mathfrak in a formula"),
        ('<div class="cell"><figure id="fig-a"></figure></div>', "does not link its SVG, PNG, CSV"),
        ("<table><tr><td>tensor(1.7310)</td></tr></table>", "in the place of a number: tensor(1.7310)"),
    ],
)
def test_each_fault_is_found(site, body, fault):
    (found,) = site(body)
    assert fault in found


def test_a_page_that_loads_too_much_is_found(site, tmp_path):
    (tmp_path / "large.js").write_bytes(b" " * (check_book.HEAVY + 1))
    assert site('<script src="large.js"></script>') == ["the page loads 2.5 MB, must be 2.5 or less"]


def test_faults_of_the_head_and_of_the_language_are_found(site):
    assert "loads from the network" in site(head='<link rel="stylesheet" href="https://example.org/a.css">')[0]
    assert "lang" in site(page=PAGE.replace(' lang="en"', ""))[0]


def test_style_sheets_are_checked_and_a_redirect_must_lead_somewhere(site, tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text("a { background: url('https://fonts.example.org/a.woff') }")
    assert site() == ["loads from the network: https://fonts.example.org/a.woff"]
    redirect = '<meta http-equiv="Refresh" content="0; url={}.html" />'
    (tmp_path / "_static" / "a.css").unlink()
    assert site(page=redirect.format("other")) == []
    assert "leads nowhere" in site(page=redirect.format("gone"))[0]


# --- setting up ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(pyproject):
    extras = [line for lines in pyproject["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*pyproject["dependencies"], *extras]]


def test_the_environment_asks_for_what_pyproject_asks_for(pyproject):
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    asked = {str(Requirement(line)) for line in pip if not line.startswith("--editable")}
    assert asked == {str(requirement) for requirement in requirements(pyproject)}
    assert f"python {pyproject['requires-python']}" in conda
    assert "--editable ." in pip


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_satisfies_pyproject(pyproject, python):
    here = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate(here)]
    versions = {pin.name: Version(str(pin.specifier).removeprefix("==")) for pin in pins}
    assert len(versions) == len(pins), "a package is pinned twice"
    missing = [str(need) for need in requirements(pyproject) if versions[need.name] not in need.specifier]
    assert missing == []


def test_the_extra_torch_brings_one_that_torchaudio_loads_with(pyproject):
    """The last torchaudio is 2.11, for CUDA 13.0; the torch that pip brings is for another CUDA from 2.15 on."""
    (torch,) = [r for r in map(Requirement, pyproject["optional-dependencies"]["torch"]) if r.name == "torch"]
    assert list(torch.specifier.filter(["2.10.0", "2.11.0", "2.14.1", "2.15.0"])) == ["2.11.0", "2.14.1"]


def test_the_lock_names_no_registry():
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", (ROOT / "requirements.lock").read_text())


def test_every_target_of_the_readme_exists():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert {"help", "setup", "data", "book", "test", "lint", "clean"} <= targets
    for file in ("README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/book.yml"):
        assert (
            set(re.findall(r"\bmake ([a-z-]+)\b(?=[`\s]*(?:$|PROFILE|`))", (ROOT / file).read_text(), re.M)) <= targets
        )


@pytest.mark.parametrize("folder", ["atif_lib", "ci", "tests"])
def test_no_name_is_defined_twice(folder):
    """As a merge may do it: the later function is the one that runs, and ruff is content if both are used."""
    again = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for scope in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(scope, ast.Module | ast.ClassDef):
                defined = [node for node in scope.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
                names = Counter(node.name for node in defined if not node.decorator_list)
                again += [f"{path.relative_to(ROOT)}: {name}" for name, count in names.items() if count > 1]
    assert again == []


def test_the_neurons_of_the_readme_are_made_as_it_says():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (file,) = re.findall(r"`ACTIVATIONS` in `([^`]+)`", text)
    assert "ACTIVATIONS" in (ROOT / file).read_text(encoding="utf-8")
    (line,) = re.findall(r'`("mine": lambda [^`]+)`', text)
    (activation,) = eval(f"{{{line}}}", {"ATIFu": ATIFu}).values()
    assert vgg_small(activation)(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    (snippet,) = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "ATIFu" in code]
    exec(snippet, names := {})
    assert names["estimate"].shape == (8, 16)


def test_the_version_stands_in_one_place(pyproject):
    assert ("version" in pyproject, pyproject["dynamic"]) == (False, ["version"])
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == atif_lib.__version__  # the file's format has no way to ask for it


def test_the_files_that_contributing_names_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:atif_lib|book|tests|data)/[\w./]+)`", text)) - {"book/NN_name.py"}
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    for name, file in re.findall(r"`([A-Z]\w+)`\s+in\s+`([\w./]+)`", text):
        assert re.search(rf"^{name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (name, file)


def test_the_ci_script_runs_tests_book_and_notebooks():
    script = ROOT / ".ci" / "run"
    assert sys.platform == "win32" or script.stat().st_mode & 0o111
    text = script.read_text()
    commands = ["set -euo pipefail", "make lint", "make test", "make book", "make notebooks"]
    assert sorted(commands, key=text.index) == commands


def test_mathjax_has_the_parts_in_use_and_no_menu(tmp_path):
    mathjax.write_mathjax(tmp_path)
    text = (tmp_path / mathjax.MATHJAX).read_text(encoding="utf-8")
    assert text.startswith(f"{mathjax.NOTICE}(settings => {{")
    licence = (tmp_path / "LICENSE").read_text(encoding="utf-8")
    assert licence.split()[:2] == ["Apache", "License"]
    assert "END OF TERMS AND CONDITIONS" in licence
    for name in ("input/tex", "[tex]/ams", "output/svg", "a11y/assistive-mml"):
        assert name in text
    assert "MenuHandler" not in text
    assert 1_000_000 < len(text) < 1_400_000
    configured = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["mathjax_path"]
    assert configured == f"mathjax/{mathjax.MATHJAX}"


def test_the_drawings_of_unused_alphabets_are_left_out():
    font = (
        '!{1:function(T){T.normal=void 0,A({65:"a",119808:"bold",120068:"Fraktur"})},'
        '2:function(T){T.fraktur=void 0,A({65:"b"})}}'
    )
    assert mathjax.without_unused(font) == font.replace('"Fraktur"', '""').replace('"b"', '""')


def test_only_the_icons_in_use_are_in_the_site(tmp_path):
    theme = (
        Path(pytest.importorskip("pydata_sphinx_theme").__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
    )
    shutil.copytree(theme, tmp_path / "_static", ignore=shutil.ignore_patterns("*.js", "*.map"))
    for script in icons.SCRIPTS:
        (tmp_path / "_static" / "scripts" / script).write_text('add("fa-xmark")')
    (tmp_path / "index.html").write_text('<i class="fa-solid fa-bars"></i>')
    icons.embed_icons(tmp_path)
    style = (tmp_path / "_static" / "styles" / "pydata-sphinx-theme.css").read_text(encoding="utf-8")
    assert "webfonts" not in style
    assert list(tmp_path.rglob("*.woff2")) == list(tmp_path.rglob("*.ttf")) == []
    fonts = [TTFont(BytesIO(b64decode(data))) for data in re.findall(r"data:font/woff;base64,([\w+/=]+)", style)]
    drawn = set().union(*(font.getBestCmap() for font in fonts))
    assert {0xF0C9, 0xF00D, 0xF0EB} <= drawn  # the page's, the script's, and the lightbulb of the style sheet
    assert len(drawn) < 40


@pytest.mark.parametrize(("slug", "base"), [("o/r", "/r/"), ("o/o.github.io", "/")])
def test_the_links_of_the_not_found_page_begin_where_the_site_does(tmp_path, slug, base):
    (tmp_path / "book" / "_static").mkdir(parents=True)
    shutil.copy(ROOT / "book" / "404.md", tmp_path / "book")
    shutil.copy(ROOT / "book" / "_static" / "404.css", tmp_path / "book" / "_static")
    repository = project.Repository(f"https://github.com/{slug}", "main")
    assert f'<base href="{base}">' in pages.not_found_page(project.Project(tmp_path), repository)


def test_the_not_found_page_stands_alone(tmp_path):
    shutil.copytree(ROOT / "book" / "_static", tmp_path / "book" / "_static")
    shutil.copy(ROOT / "book" / "404.md", tmp_path / "book")
    page = pages.not_found_page(project.Project(tmp_path), project.Repository("https://github.com/o/r", "main"))
    assert '<base href="/r/">' in page
    (tmp_path / "index.html").write_text(page)
    assert check_book.check_site(tmp_path / "nowhere") == [("index.html", "there is no such page")]
    assert check_book.check_site(tmp_path) == []
