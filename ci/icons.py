"""The theme's icons: of Font Awesome's fonts only the signs that the site shows, inside the theme's style sheet.

The theme brings a script of 1.5 MB that draws each of two thousand icons, and the fonts besides. A browser that opens
the site as files may refuse fonts from files of their own.
"""

import re
from base64 import b64encode
from io import BytesIO
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

NAMED = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')
SIGN = re.compile("[\ue000-\uf8ff]")  # one that the style sheet shows by itself
SOURCE = re.compile(r"src:url\(\.\./(vendor/fontawesome/webfonts/fa-[\w-]+)\.woff2\)[^}]*")
SCRIPTS = ("pydata-sphinx-theme.js", "sphinx-book-theme.js")  # they make buttons


def shown(html: Path, style: str) -> set[int]:
    """Return the code points of the icons that the site shows."""
    codes = {name: int(code, 16) for names, code in NAMED.findall(style) for name in re.findall(r"fa-[\w-]+", names)}
    files = [*html.rglob("*.html"), *(html / "_static" / "scripts" / name for name in SCRIPTS)]
    classes = {name for file in files for name in re.findall(r"fa-[\w-]+", file.read_text(encoding="utf-8"))}
    own = {ord(sign) for sign in SIGN.findall(style)}
    return own | {codes[name] for name in classes & set(codes)}


def font_part(font: Path, codes: set[int]) -> bytes:
    """Return a font as WOFF with the signs of some code points alone."""
    options = subset.Options(flavor="woff", desubroutinize=True, layout_features=[], name_IDs=[])
    drawn = TTFont(font)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(drawn)
    drawn.flavor = "woff"
    buffer = BytesIO()
    drawn.save(buffer)
    return buffer.getvalue()


def embed_icons(html: Path) -> None:
    """Put the icons in use into the theme's style sheet, and take out what held all of them."""
    static = html / "_static"
    sheet = static / "styles" / "pydata-sphinx-theme.css"
    style = sheet.read_text(encoding="utf-8")
    codes = shown(html, style)

    def embedded(source: re.Match[str]) -> str:
        data = b64encode(font_part(static / f"{source[1]}.ttf", codes)).decode()
        return f"src:url(data:font/woff;base64,{data}) format('woff')"

    sheet.write_text(SOURCE.sub(embedded, style), encoding="utf-8")
    unused = [*(static / "vendor" / "fontawesome" / "webfonts").iterdir(), *static.rglob("fontawesome.js*")]
    for file in [*unused, *static.rglob("*.map")]:
        file.unlink(missing_ok=True)
