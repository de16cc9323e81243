"""The book as one PDF: its pages put together, and printed where there is a browser."""

import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

from bs4 import BeautifulSoup  # noqa: E402

from ci import browser, pdf  # noqa: E402
from ci.project import Project  # noqa: E402

TOC = """
root: book/intro
parts:
  - caption: One part
    chapters: [{file: book/01_one}, {file: book/api}]
"""
PAGE = """<html lang="en"><head>
<link rel="stylesheet" href="../_static/book.css"><script src="../_static/other.js"></script>
<script>window.MathJax = {{}}</script>
</head><body><a class="navbar-brand"><p class="title">The book</p></a>
<article class="bd-article"><section id="top">
<h1>{title}<a class="headerlink" href="#top">#</a></h1>{body}
</section></article>
</body></html>"""
BODIES = {
    "intro": '<a href="01_one.html#fig-a">a figure</a> <a href="01_one.html">a page</a> <a href="#top">here</a>'
    '<a href="api.html">left out</a> <a href="../figures/a.csv">data</a> <a href="https://example.org/">far</a>',
    "01_one": '<figure id="fig-a"><img src="../_images/a.svg" alt="a"></figure><svg><g id="clip"/></svg>'
    '<details class="hide above-input"><pre>plot()</pre></details><details class="hide above-output">4</details>',
    "api": "",
}


@pytest.fixture
def book(tmp_path):
    """Make a site of an introduction, a chapter and a page that is left out."""
    project = Project(tmp_path)
    (project.html / "book").mkdir(parents=True)
    project.stage.mkdir()
    (project.html / "_static").mkdir()
    shutil.copy(ROOT / "book" / "_static" / "book.css", project.html / "_static")
    (project.stage / "_toc.yml").write_text(TOC)
    for stem, body in BODIES.items():
        (project.html / "book" / f"{stem}.html").write_text(PAGE.format(title=f"Page {stem}", body=body))
    return project


@pytest.fixture
def whole(book):
    return BeautifulSoup(pdf.whole_book(book), "html.parser")


def test_the_pages_follow_each_other_below_a_table_of_contents(whole):
    assert [section["id"] for section in whole.select(".whole-page")] == ["intro", "01_one"]
    contents = whole.select("nav > *")
    assert [tag.get_text() for tag in contents] == ["Page intro", "One part", "Page 01_one"]
    assert [tag.get("href") for tag in contents] == ["#intro", None, "#01_one"]
    assert whole.title.get_text() == "The book"
    assert [str(tag) for tag in whole.head.select("link, script")] == [
        '<link href="html/_static/book.css" rel="stylesheet"/>',
        "<script>window.MathJax = {}</script>",
    ]


def test_links_lead_from_place_to_place_and_none_to_a_file_of_the_machine(whole):
    links = {tag.get_text(): tag["href"] for tag in whole.select("section a:not(.headerlink)")}
    assert links == {
        "a figure": "#01_one--fig-a",
        "a page": "#01_one",
        "here": "#intro--top",
        "far": "https://example.org/",
    }
    ids = {tag["id"] for tag in whole.select("[id]")}
    assert {link.removeprefix("#") for link in links.values() if link.startswith("#")} <= ids
    assert "clip" in ids  # a drawing refers to its own parts
    assert whole.img["src"] == "html/_images/a.svg"


def test_folded_code_is_left_out_and_answers_are_shown(whole):
    (shown,) = whole.select("details")
    assert shown.has_attr("open")
    assert shown.get_text() == "4"


def test_without_a_browser_it_says_what_is_missing(book, monkeypatch, capsys):
    monkeypatch.setattr(browser, "find", lambda: None)
    monkeypatch.setattr(sys, "argv", ["pdf", "--root", str(book.root)])
    assert pdf.main() == 1
    assert capsys.readouterr().err.startswith("No Chromium, Chrome or Edge was found. Install one (")
    assert not (book.build / "book.pdf").exists()


@pytest.mark.skipif(browser.find() is None, reason="there is no Chromium here")
def test_the_book_is_printed(book, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pdf", "--root", str(book.root)])
    assert pdf.main() == 0
    assert capsys.readouterr().out == "The book is in _build/book.pdf\n"
    printed = (book.build / "book.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 3  # title and contents, introduction, chapter
    assert not (book.build / "book.html").exists()
