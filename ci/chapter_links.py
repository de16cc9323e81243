"""Sphinx extension: a link to a chapter's source, `[](02_name.py)`, leads to its page.

On the code host and in an editor such a link opens the source; among the staged pages the chapter is a notebook.
"""

import re
from typing import Any

from sphinx.application import Sphinx

LINK = re.compile(r"\]\((?P<name>(?:\./)?\d\d_\w+)\.py(?P<anchor>#[\w-]+)?\)")


def link_pages(_app: Sphinx, _docname: str, source: list[str]) -> None:
    """Let the links of one page, Markdown or notebook, lead to notebooks."""
    source[0] = LINK.sub(lambda match: f"]({match['name']}.ipynb{match['anchor'] or ''})", source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", link_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
