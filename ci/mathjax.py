r"""MathJax for the site: the parts in use of the installed package, in one file.

Left out are its menu, which makes each formula a stop for the tab key, what fetches parts later, and the drawings of
alphabets that the book does not use: together half of the whole. The check of the site finds a formula that needs them.
"""

import re
from importlib import metadata
from pathlib import Path

MATHJAX = "mathjax.js"
PACKAGES = ("ams", "newcommand", "boldsymbol")
PARTS = (
    "startup",
    "core",
    "input/tex-base",
    *(f"input/tex/extensions/{name}" for name in PACKAGES),
    "output/svg",
    "output/svg/fonts/tex",
    "a11y/assistive-mml",  # what a screen reader reads
)
NOTICE = "/*! MathJax, the MathJax Consortium, Apache License 2.0 (LICENSE); parts of it, in one file. */\n"
SETTINGS = f"""(settings => {{
  settings.loader = {{load: []}};  // all is in this file
  settings.tex = {{packages: {["base", *PACKAGES]}, ...settings.tex}};
}})(window.MathJax = window.MathJax || {{}});
"""
ALPHABETS = ("fraktur", "frakturBold", "monospace", "sansSerif", "sansSerifBold", "sansSerifItalic", "texOldstyle")
ALPHABETS += ("texOldstyleBold", "texCalligraphicBold")
UNICODE = ((0x1D468, 0x1D538), (0x1D56C, 0x1D6A4), (0x1D71C, 0x1D7CE))  # bold italic, script, Fraktur, sans, monospace
MISSING = re.compile(
    r"\\(?:mathfrak|frak|mathscr|scr|mathsf|textsf|sf|mathtt|texttt|tt|mathbfit|oldstyle|symup|boldsymbol\{\\mathcal"
    r"|color|textcolor|colorbox|cancel|ce|pu|bra|ket|qty|require|bbox|href|unicode|enclose)(?![a-zA-Z])"
)
"""What a formula may not use."""

_MODULE = re.compile(r"(?=[{,]\d+:function\()")
_DRAWING = re.compile(r'(?<=[{,])(\d+):"[^"]*"')


def package_folder() -> Path:
    """Find MathJax in the installed package, whose folder's name no import can spell."""
    for file in metadata.files("sphinx-mathjax-offline") or []:
        if file.name == "core.js":
            return Path(str(file.locate())).parent
    raise FileNotFoundError("sphinx-mathjax-offline holds no core.js")


def without_unused(font: str) -> str:
    """Return MathJax's font less the drawings of alphabets that the book does not use."""

    def kept(drawing: re.Match[str]) -> str:
        unused = any(first <= int(drawing[1]) < end for first, end in UNICODE)
        return f'{drawing[1]}:""' if unused else drawing[0]

    modules = [_DRAWING.sub(kept, module) for module in _MODULE.split(font)]
    names = [re.search(r"\.(\w+)=void 0", module) for module in modules]
    return "".join(
        _DRAWING.sub(r'\1:""', module) if name and name[1] in ALPHABETS else module
        for module, name in zip(modules, names, strict=True)
    )


def write_mathjax(folder: Path) -> None:
    """Write MathJax into `folder`, with the licence that goes with every copy."""
    parts = {name: (package_folder() / f"{name}.js").read_text(encoding="utf-8") for name in PARTS}
    parts["output/svg/fonts/tex"] = without_unused(parts["output/svg/fonts/tex"])
    (folder / MATHJAX).write_text(NOTICE + SETTINGS + "\n".join(parts.values()), encoding="utf-8")
    (folder / "LICENSE").write_text(apache_licence(), encoding="utf-8")


def apache_licence() -> str:
    """Return the Apache License 2.0 as another package brings it, for MathJax's own leaves it out."""
    (file,) = (file for file in metadata.files("packaging") or [] if file.name == "LICENSE.APACHE")
    return file.read_text(encoding="utf-8")
