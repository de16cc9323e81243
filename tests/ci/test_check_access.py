"""What a screen reader stumbles over: mended where it is known, found by a browser where it is not."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

from ci import browser, check_access  # noqa: E402
from ci.accessible import mend  # noqa: E402

BRAND = '<a class="navbar-brand logo">'
PAGE = """<!DOCTYPE html><html lang="en"><head><title>A page</title></head>
<body><main><h1>A page</h1>{body}</main></body></html>"""


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        ('<th></th><th class="head"><p></p></th><th>T</th>', '<td></td><td class="head"></td><th>T</th>'),
        ('<thead><tr><th scope="col">\n</th></tr></thead>', '<thead><tr><td scope="col"></td></tr></thead>'),
        ('<summary aria-label="Toggle hidden content"><p>Show</p></summary>', "<summary><p>Show</p></summary>"),
        ('<div role="list" class="citation-list">', '<div class="citation-list">'),
        ('<div class="citation" id="id1" role="doc-biblioentry">', '<div class="citation" id="id1">'),
        (
            f'<div class="sidebar-primary-item">{BRAND}',
            f'<div class="sidebar-primary-item" role="navigation" aria-label="Front page">{BRAND}',
        ),
    ],
)
def test_what_is_known_is_mended(written, mended):
    assert mend(written) == mended
    assert mend(mended) == mended


needs_browser = pytest.mark.skipif(browser.find() is None, reason="there is no Chromium here")


def look(tmp_path, name, body, every=False):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / f"{name}.html").write_text(PAGE.format(body=body))
    return [fault for _, fault in check_access.check_site(tmp_path, every)]


@needs_browser
def test_a_faultless_page_has_no_faults_on_any_screen(tmp_path):
    assert look(tmp_path, "intro", "<p>Text</p>", every=True) == []


@needs_browser
@pytest.mark.parametrize(
    ("name", "body", "fault"),
    [
        ("intro", '<p style="color: #ccc">pale</p>', "color-contrast"),
        ("intro", '<details><summary>More</summary><p style="color: #ccc">pale</p></details>', "color-contrast"),
        ("intro", '<button aria-label="Go">Show the answer</button>', "label-content-name-mismatch"),
        ("intro", '<mjx-container tabindex="0">x</mjx-container>', "1 formulas are stops"),
        ("intro", '<div style="width: 2000px">wide</div>', "wider than the screen by"),
        ("summary", '<p style="height: 2000px">long</p>', "prints on 2 sheets, must be 1"),
    ],
)
def test_each_fault_is_found(tmp_path, name, body, fault):
    (found,) = look(tmp_path, name, body)
    assert fault in found
