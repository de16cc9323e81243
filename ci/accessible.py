"""Mend, in the built pages, what Sphinx, its extensions and the theme write that a screen reader stumbles over."""

import re
from pathlib import Path

MENDED = (
    # A header cell without a word is no header: the corner of a table of results.
    (re.compile(r"<th\b([^>]*)>\s*(?:<p>\s*</p>\s*)?</th>"), r"<td\1></td>"),
    # A button is named by the words on it.
    (re.compile(r' aria-label="Toggle hidden content"'), ""),
    (re.compile(r'(<button class="btn search-button-field[^>]*?) aria-label="Search"'), r"\1"),
    # A role that ARIA has given up, and a list with children that are no items of it.
    (re.compile(r' role="doc-biblioentry"'), ""),
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
    # An id that several elements of a page have.
    (re.compile(r' id="(?:exercise|solution)-content"'), ""),
    # What is on top of the sidebar belongs to no landmark.
    (
        re.compile(r'<div class="(sidebar-primary-item)">(?=\s*<a class="navbar-brand)'),
        r'<div class="\1" role="navigation" aria-label="Front page">',
    ),
)


def mend(page: str) -> str:
    """Return the text of a page as everybody can read it."""
    for pattern, better in MENDED:
        page = pattern.sub(better, page)
    return page


def mend_pages(html: Path) -> None:
    """Mend every page of the site."""
    for path in html.rglob("*.html"):
        path.write_text(mend(path.read_text(encoding="utf-8")), encoding="utf-8")
