r"""Sphinx extension: a labelled equation bears the number in its `\tag`, so that the paper's Eq. 7 is Eq. 7.

Sphinx would count the equations itself and `{eq}` would cite that count beside MathJax's tag. Here the tag is taken out
of the formula and becomes Sphinx's own number, shown beside the equation and by every `{eq}` that cites it.
"""

import re
from typing import Any, cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.math import MathDomain
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
TAG = re.compile(r"\s*\\tag\{([^{}]*)\}")


def number_from_tag(node: nodes.math_block) -> str | None:
    """Take the `\\tag` out of a labelled equation and return it; warn where label and tag do not come as a pair."""
    tags = TAG.findall(node.astext())
    label = node.get("label")
    if bool(label) != bool(tags) or len(tags) > 1:
        LOGGER.warning(
            "a displayed equation takes a (label) and one \\tag, or neither: %s", label or tags, location=node
        )
        return None
    if not tags:
        return None
    text = TAG.sub("", node.astext())
    node.children = [nodes.Text(text)]
    node["number"] = tags[0]
    return tags[0]


def number_equations(app: Sphinx, doctree: nodes.document) -> None:
    """Give the equations of one page the numbers in their tags."""
    domain = cast(MathDomain, app.env.get_domain("math"))
    for node in doctree.findall(nodes.math_block):
        if number := number_from_tag(node):
            # Sphinx declares an int here and only ever formats it.
            domain.equations[node["label"]] = (app.env.docname, cast(int, number))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("doctree-read", number_equations)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
