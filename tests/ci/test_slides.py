"""The lectures' slides: what a source may say, where its numbers come from, and pages that need no network."""

import re
import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]

from atif_lib.results import manifest, records  # noqa: E402
from ci import check_book, slides  # noqa: E402
from ci.project import Project  # noqa: E402

SOURCES = sorted((ROOT / "book" / "slides").glob("*.md"))
GOOD = "## A title\n\nText.\n\nNotes:\nSay this."


@pytest.fixture(scope="module")
def lecture():
    """Stand in for the executed chapters: each figure that their sources name was made."""
    named = slides.named_figures(Project(ROOT))
    made = {name: slides.Figure(figure.chapter, f"What {name} shows.", 1.5) for name, figure in named.items()}
    return slides.Lecture(made, records.load_all(records.RESULTS))


def section(text, lecture, first=False):
    (slide,) = slides.read_slides(text)
    return BeautifulSoup(slides.render_slide(slide, lecture, first), "html.parser")


def test_there_are_four_lectures_and_the_page_for_teachers_links_each():
    assert [path.stem for path in SOURCES] == [f"lecture_{n}" for n in range(1, 5)]
    page = (ROOT / "book" / "teach.md").read_text(encoding="utf-8")
    assert re.findall(r'href="\.\./slides/(\w+)\.html"', page) == [path.stem for path in SOURCES]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_lecture_renders_and_asks_before_it_answers(source, lecture):
    page = BeautifulSoup(slides.render_lecture(source.read_text(encoding="utf-8"), lecture), "html.parser")
    shown = page.select(".slides > section")
    assert 12 <= len(shown) <= 18
    assert len(page.select(".predict")) >= 5
    assert all(image["alt"] for image in page.select("img"))
    assert len(page.select("img")) >= 4
    assert all(section.select_one("aside.notes").get_text(strip=True) for section in shown)
    assert "{{" not in page.get_text()
    assert list(check_book.check_offline(page)) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_figure_is_from_a_chapter_that_the_lecture_names(source, lecture):
    text = source.read_text(encoding="utf-8")
    chapters = re.findall(r"\d+", re.search(r"Chapters? ([\d, and]+)", text)[1])
    for name in re.findall(r"\(figure:([\w-]+)\)", text):
        assert lecture.figures[name].chapter[:2] in {f"{int(chapter):02}" for chapter in chapters}


def test_a_slide_is_a_title_what_is_shown_and_what_is_said(lecture):
    shown = section("## A title\n\n**Predict:** $x^2$?\n\n. . .\n\n![](figure:membrane)\n\nNotes:\nSay this.", lecture)
    assert shown.h2.get_text() == "A title"
    assert shown.select_one("p.predict").get_text() == r"Predict: \(x^2\)?"
    figure = shown.select_one(".fragment figure")
    assert figure.img["src"] == "../figures/membrane.svg"
    assert figure.img["alt"] == "What membrane shows."
    assert figure.a["href"] == "../book/01_if_neuron.html#fig-membrane"
    assert shown.select_one("aside.notes").get_text(strip=True) == "Say this."


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (GOOD.replace("## A title", "A title"), "a slide begins with 'A title'"),
        (GOOD.replace("Say this.", ""), "no notes"),
        (GOOD.replace("Say this.", "Say $x$."), "a formula in the notes"),
        (GOOD.replace("Text.", "It gains 3.01 dB."), "'3.01 dB' is typed"),
        (GOOD.replace("Say this.", "It gains 4 points."), "'4 points' is typed"),
        (GOOD.replace("Text.", "{{toy-none:gain_db:.1f}}"), "unknown experiment 'toy-none'"),
        (GOOD.replace("Text.", "{{cifar10-vgg16-relu-paper:theta:.1f}}"), "has no records of the profile full"),
        (GOOD.replace("Text.", "{{toy-atif-u:none:.1f}}"), "no metric 'none'"),
        (GOOD.replace("Text.", "{{toy-fixed:sqnr_db:±.1f}}"), "several seeds"),
        (GOOD.replace("Text.", "{{paper:none:g}}"), "none"),
        (GOOD.replace("Text.", "{{interval:toy-none:toy-atif-u:gain_db}}"), "has no records"),
        (GOOD.replace("Text.", "{{interval:toy-none:toy-atif-u}}"), "allowed: interval:one experiment:another:metric"),
        (GOOD.replace("Text.", "{{verdicts}}"), "{{verdicts}}"),
        (GOOD.replace("Text.", "{{toy-atif-u:thresholds:.2f}}"), "{{toy-atif-u:thresholds:.2f}}"),
        (GOOD.replace("Text.", "![](figure:none)"), "figure 'none' is in no chapter"),
        (GOOD.replace("Text.", "![a](https://example.org/a.png)"), "allowed: figure:NAME"),
    ],
)
def test_what_is_wrong_in_a_slide_is_said(text, fault, lecture):
    with pytest.raises(slides.SlideError, match=re.escape(fault)):
        section(text, lecture)


def test_numbers_come_from_the_records(lecture):
    def fill(text):
        return slides.fill(text, lecture.runs).replace("\N{NO-BREAK SPACE}", " ")

    (fixed,) = records.records_of("toy-fixed", "laptop", records.RESULTS)
    learned = [run.result["sqnr_db"] for run in records.records_of("toy-atif-u", "laptop", records.RESULTS)]
    mean = sum(learned) / len(learned)
    assert fill("{{toy-fixed:sqnr_db:.2f}} dB") == f"{fixed.result['sqnr_db']:.2f} dB"
    assert fill("{{ toy-atif-u:sqnr_db:.2f }}") == f"{mean:.2f}"
    assert fill("{{toy-atif-u:sqnr_db:±.2f}}").startswith(f"{mean:.2f} ± ")
    assert fill("{{toy-fixed:sqnr_db - toy-atif-u:sqnr_db:.1f}}") == f"−{mean - fixed.result['sqnr_db']:.1f}"
    assert fill("{{paper:threshold-plus-4-16:g}}") == "4.16"
    (large,) = records.records_of("cifar10-vgg16-relu-staged", "full", records.RESULTS)
    assert fill("{{cifar10-vgg16-relu-staged:test_accuracy:.1f}} %") == f"{large.result['test_accuracy']:.1f} %"
    assert fill("{{interval:toy-atif-nu:toy-atif-u:sqnr_db}}").endswith(", higher")


def test_what_the_slides_call_reproduced_is():
    verdicts = {entry.id: entry.verdict for entry in manifest.load().entries}
    assert verdicts["five-times-timesteps"] == verdicts["fig-5"] == "reproduced"  # lectures 2 and 3


def test_a_figure_that_its_chapter_could_not_make_is_a_box(lecture):
    gone = slides.Lecture({"membrane": slides.Figure("01_if_neuron")}, lecture.runs)
    shown = section(GOOD.replace("Text.", "![](figure:membrane)"), gone)
    assert "not made here: Chapter 1 says why" in shown.select_one(".missing").get_text()
    assert shown.img is None


def test_the_size_of_a_drawing_is_read_from_it():
    head = '<svg height="100pt" version="1.1" viewBox="0 0 200 100" width="200pt" xmlns="http://www.w3.org/2000/svg">'
    assert slides.ratio(head) == slides.ratio('<svg width="200pt" height="100pt">') == 2
    with pytest.raises(ValueError, match="allowed: a drawing with a width"):
        slides.ratio("<svg>")


@pytest.fixture
def site(tmp_path, lecture, monkeypatch):
    """Make the slides of the book beside a site of empty pages; return the project."""
    shutil.copytree(ROOT / "book" / "slides", tmp_path / "book" / "slides")
    monkeypatch.setattr(slides, "named_figures", lambda project: lecture.figures)
    monkeypatch.setenv("ATIF_RESULTS", str(records.RESULTS))
    project = Project(tmp_path)
    for name, figure in lecture.figures.items():
        page, drawing = project.html / "book" / f"{figure.chapter}.html", project.html / "figures" / f"{name}.svg"
        page.parent.mkdir(parents=True, exist_ok=True)
        drawing.parent.mkdir(exist_ok=True)
        drawing.write_text('<svg width="1pt" height="1pt"></svg>')
        with page.open("a") as file:
            file.write(f'<p id="fig-{name}">')
    (project.html / "_static" / "mathjax").mkdir(parents=True)
    (project.html / "_static" / "mathjax" / slides.MATHJAX).touch()
    for page in (project.html / "index.html", project.html / "book" / "teach.html"):
        page.write_text('<html lang="en"><h1>A page</h1></html>')
    return project


def slide_faults(project):
    faults = check_book.check_site(project.html)
    return [(file, fault) for file, fault in faults if file.startswith("slides")]


def test_the_slides_are_written_whole_and_need_no_network(site):
    assert slides.write_slides(site) == []
    assert slide_faults(site) == []
    folder = site.html / "slides"
    assert sorted(path.stem for path in folder.glob("*.html")) == [path.stem for path in SOURCES]
    for script in folder.rglob("*.js"):
        assert check_book.SCRIPT_URL.search(script.read_text(encoding="utf-8")) is None
    assert "MIT" in (folder / "reveal" / "dist" / "reveal.js").read_text(encoding="utf-8")[:200]
    assert (folder / "reveal" / "LICENSE").is_file()


def test_a_lecture_with_a_fault_is_not_written(site):
    source = site.root / "book" / "slides" / "lecture_2.md"
    source.write_text(source.read_text(encoding="utf-8") + "\n---\n\n## No notes\n", encoding="utf-8")
    (fault,) = slides.write_slides(site)
    assert fault.startswith("book/slides/lecture_2.md: ## No notes")
    assert not (site.html / "slides" / "lecture_2.html").exists()


def test_the_check_of_the_site_finds_a_slide_without_title_or_notes(site):
    assert slides.write_slides(site) == []
    page = site.html / "slides" / "lecture_1.html"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("<h2>", "<p>").replace("</h2>", "</p>"), encoding="utf-8")
    assert ("slides/lecture_1.html", "slide 2 has no title") in slide_faults(site)
    page.write_text(re.sub(r'<aside class="notes">.*?</aside>', "", text, flags=re.DOTALL), encoding="utf-8")
    assert ("slides/lecture_1.html", "slide 1 has no notes") in slide_faults(site)
