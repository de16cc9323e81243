r"""Sphinx extension for book/api.md: docstrings of the library as autodoc and napoleon read them, all references held.

What they do not do themselves: a function may be cited by the room that hands it on (`atif_lib.quantization.staircase`)
while it is described where it is defined; a type of another package is no broken reference; and the shapes in our
docstrings, such as `[T, N, *]`, are no markup.
"""

import re
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

LIBRARY = "atif_lib"
STAR = re.compile(r"(?<![*\\\w])\*(?=[\]),])")  # the last entry of a shape
PLAIN = ("attribute", "data", "property")
FIELD = "Alias for field number"  # Python's own docstring for a field of a named tuple

_aside: list[str] = []


def find(name: str) -> Any:
    """Return the object with a dotted name; a LookupError where there is none."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:split]))
            for part in parts[split:]:
                found = getattr(found, part)
            return found
        except (ImportError, AttributeError):
            continue
    raise LookupError(name)


def defined_as(name: str) -> str:
    """Return the name under which an object of the library is described: that of the module that defines it."""
    try:
        found = find(name)
    except LookupError:
        return name
    return f"{found.__module__}.{found.__qualname__}" if hasattr(found, "__qualname__") else name


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement) -> nodes.Node | None:
    """Resolve what Sphinx's own search has not found, or leave it to be a warning."""
    if node.get("refdomain") != "py":
        return None
    name = node["reftarget"]
    if not name.startswith(f"{LIBRARY}."):
        top = name.split(".")[0]
        return text if "." in name and top != LIBRARY and find_spec(top) else None
    if (own := defined_as(name)) == name:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node.get("refdoc", ""), app.builder, "obj", own, node, text)  # type: ignore[arg-type]


def escape(_app: Sphinx, _what: str, _name: str, _found: Any, _options: Any, lines: list[str]) -> None:
    """Keep the stars of shapes from being read as markup, outside of code and formulas."""
    math = False
    for at, line in enumerate(lines):
        math = line.startswith((" ", ".. math::")) if math else line.lstrip().startswith(".. math::")
        if not math:
            lines[at] = "``".join(part if n % 2 else STAR.sub(r"\\*", part) for n, part in enumerate(line.split("``")))


def set_aside(_app: Sphinx, what: str, _name: str, _found: Any, _options: Any, lines: list[str]) -> None:
    """Hide the docstring of a constant or a property from napoleon: it takes what is before a colon for a type."""
    if what in PLAIN:
        _aside[:] = [*lines]
        lines.clear()


def bring_back(_app: Sphinx, what: str, _name: str, _found: Any, _options: Any, lines: list[str]) -> None:
    """Put it back."""
    if what in PLAIN:
        lines[:] = _aside


def skip(_app: Sphinx, _what: str, name: str, found: Any, skipped: bool, _options: Any) -> bool | None:
    """Leave out the fields of named tuples, which the class's docstring describes, and pydantic's own settings."""
    return True if name == "model_config" or str(getattr(found, "__doc__", "")).startswith(FIELD) else None


def name_fields(
    _app: Sphinx, what: str, _name: str, found: Any, _options: Any, signature: str | None, _returns: str | None
) -> tuple[str | None, str | None] | None:
    """Name the fields of a pydantic model without their types, which are full of what pydantic checks them by."""
    if what != "class" or not hasattr(found, "model_fields"):
        return None
    names = [field.alias or name for name, field in found.model_fields.items()]
    return f"({', '.join(['*', *names])})" if names else "()", None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension, and those that it builds on."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", set_aside, priority=400)  # napoleon has 500, which is the default
    app.connect("autodoc-process-docstring", bring_back, priority=600)
    app.connect("autodoc-process-docstring", escape, priority=700)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", name_fields)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
