"""Make the lectures' slides, one HTML file each, beside the site: `python -m ci.slides`.

A lecture is one text, `book/slides/lecture_N.md`. A line `---` parts two slides. What stands below the line `Notes:` is
for who speaks; what stands below the line `. . .` waits for a key. `![](figure:NAME)` is a figure of a chapter, which
brings its alt text along. Numbers come from the run records, see `fill`.

The slides need no network: reveal.js is copied from its package, MathJax and the figures are those of the site.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import metadata
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import nbformat
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from atif_lib import console
from atif_lib.experiments.registry import find
from atif_lib.results import manifest, page, records, tables
from ci.labels import CHAPTER
from ci.mathjax import MATHJAX
from ci.project import Project, command_line

PACKAGE = "sphinx-revealjs"  # it brings reveal.js as it is published; nothing else of it is used
REVEAL = ("dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js", "LICENSE")
STYLE = "slides.css"

NOTES = "Notes:"
PAUSE = ". . ."
FIGURE = "figure:"
PLACEHOLDER = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
TYPED = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)?\s*(?:dB|decibels?|%|percent|points?)(?!\w)")
UNIT = re.compile(r"(?<=\d) (?=dB|σ|%|±)|(?<=±) ")
SIZE = re.compile(r'<svg[^>]*?\swidth="([\d.]+)pt"[^>]*?\sheight="([\d.]+)pt"|<svg[^>]*?\sheight="([\d.]+)pt"[^>]*?'
                  r'\swidth="([\d.]+)pt"')  # fmt: skip
WIDE = 1.85  # a figure this many times as wide as high stands below the text, not beside it


class SlideError(ValueError):
    """What is wrong in a lecture; the message names the slide."""


@dataclass(frozen=True)
class Slide:
    """One slide as it is written: its Markdown, and the notes of who speaks."""

    text: str
    notes: str


@dataclass(frozen=True)
class Figure:
    """A figure of a chapter: where it stands, what is seen, and its width divided by its height (None: not made)."""

    chapter: str
    alt: str = ""
    ratio: float | None = None


@dataclass
class Lecture:
    """What a lecture's slides are made from."""

    figures: dict[str, Figure]
    runs: list[records.Record] = field(default_factory=list)


def read_slides(source: str) -> list[Slide]:
    """Part a lecture's text into slides."""
    slides = []
    for part in re.split(r"^---$", source, flags=re.MULTILINE):
        text, _, notes = part.partition(f"\n{NOTES}\n")
        slides.append(Slide(text.strip(), notes.strip()))
    return slides


def check_slide(slide: Slide, first: bool) -> None:
    """Raise SlideError for a slide without a title or notes, or with a result that was typed by hand."""
    heading = slide.text.partition("\n")[0]
    if not re.match(r"# \S" if first else r"## \S", heading):
        raise SlideError(
            f"a slide begins with {heading!r}; allowed: a title, # on the first slide and ## on the others"
        )
    if not slide.notes:
        raise SlideError(f"{heading}: no notes; allowed: some below the line {NOTES!r}")
    if "$" in slide.notes:
        raise SlideError(f"{heading}: a formula in the notes; allowed: words, since the speaker's window sets none")
    if typed := TYPED.search(PLACEHOLDER.sub("", f"{slide.text}\n{slide.notes}")):
        raise SlideError(f"{heading}: {typed[0]!r} is typed; allowed: a placeholder that the run records fill")


def fill(text: str, runs: Sequence[records.Record]) -> str:
    """Put numbers in place of the placeholders of a text.

    `{{toy-atif-u:gain_db:.2f}}` is the mean of a metric over an experiment's seeds, `{{toy-atif-u:gain_db:±.2f}}` that
    and the standard deviation, and `{{a:metric - b:metric:.2f}}` a difference of means. `{{paper:gain-10-db:g}}` is the
    paper's value of an entry of the manifest, and `{{interval:a:b:metric}}` a difference seed by seed with its 95 %
    interval and the verdict. `{{verdicts:entries}}` counts the verdicts on what the paper says, `{{verdicts:table}}` on
    one kind of it, `{{verdicts:small}}` and `{{verdicts:beyond}}` on what stands apart.

    Raises:
        SlideError: a placeholder that names no record, metric or entry.
    """

    def value(match: re.Match[str]) -> str:
        try:
            return _number(match[1], runs).replace("-", "−")
        except (ValueError, KeyError, TypeError) as error:
            raise SlideError(f"{match[0]}: {error}") from None

    return UNIT.sub("\N{NO-BREAK SPACE}", PLACEHOLDER.sub(value, text))


def _number(name: str, runs: Sequence[records.Record]) -> str:
    kind, *rest = name.split(":")
    if kind == "interval":
        if len(rest) != 3:
            raise SlideError("allowed: interval:one experiment:another:metric")
        one, other, metric = rest
        found = tables.difference(one, other, metric, runs=runs)
        if found["difference"] == "not run":
            raise SlideError(f"{one} or {other} has no records")
        return f"{found['difference']}, {found['verdict']}"
    if kind == "verdicts":
        return page.tally(_group(*rest))
    if kind == "paper":
        entry_id, spec = rest
        paper = {entry.id: entry for entry in manifest.load().entries}[entry_id].checks[0].paper
        return format(paper, spec)
    pointers, _, spec = name.rpartition(":")
    values = [_values(pointer.strip(), runs) for pointer in pointers.split(" - ")]
    number = mean(values[0]) - sum(mean(other) for other in values[1:])
    if not spec.startswith("±"):
        return format(number, spec)
    if len(values) > 1 or len(values[0]) < 2:
        raise SlideError(f"spec={spec!r}; allowed where there is one experiment of several seeds")
    return f"{number:{spec[1:]}} ± {stdev(values[0]):{spec[1:]}}"


def _group(name: str) -> Sequence[manifest.Entry]:
    found = manifest.load()
    groups = {"entries": found.entries, "small": found.small, "beyond": found.beyond}
    entries = groups[name] if name in groups else found.of_kind(name)
    if not entries:
        raise SlideError(f"the manifest has no entries of the kind {name!r}")
    return entries


def _values(pointer: str, runs: Sequence[records.Record]) -> list[float]:
    experiment, _, metric = pointer.partition(":")
    profile = find(experiment).profiles[-1]
    found = [run.metric(metric) for run in runs if (run.experiment, run.profile) == (experiment, profile)]
    if not found:
        raise SlideError(f"{experiment!r} has no records of the profile {profile}")
    return found


def made_figures(project: Project) -> dict[str, Figure]:
    """Return the figures that the executed chapters show, with their alt texts."""
    figures = {}
    for chapter in project.chapters():
        notebook = project.notebook(chapter)
        if not notebook.exists():
            continue
        for cell in nbformat.read(notebook, as_version=4).cells:
            shown = cell.metadata.get("mystnb", {})
            name = str(shown.get("figure", {}).get("name", "")).removeprefix("fig-")
            drawing = project.figures / f"{name}.svg"
            if name and drawing.exists():
                figures[name] = Figure(chapter.stem, shown["image"]["alt"], ratio(drawing.read_text(encoding="utf-8")))
    return figures


def named_figures(project: Project) -> dict[str, Figure]:
    """Return all that the sources name: a chapter that lacks its data leaves a figure out, and says so."""
    return {
        name: Figure(chapter.stem)
        for chapter in project.chapters()
        for name in re.findall(r'^\s+"([a-z0-9-]+)",$', chapter.read_text(encoding="utf-8"), re.MULTILINE)
    }


def ratio(svg: str) -> float:
    """Return the width of a drawing divided by its height."""
    match = SIZE.search(svg)
    if match is None:
        raise ValueError(f"svg={svg[:80]!r}; allowed: a drawing with a width and a height in pt")
    width, height = (match[1], match[2]) if match[1] else (match[4], match[3])
    return float(width) / float(height)


def _math(content: str, options: dict[str, Any]) -> str:
    begin, end = (r"\[", r"\]") if options.get("display_mode") else (r"\(", r"\)")
    return escape(f"{begin}{content.strip()}{end}", quote=False)


MARKDOWN = (
    MarkdownIt("commonmark", {"typographer": True})
    .enable(["table", "smartquotes"])
    .use(dollarmath_plugin, renderer=_math)
)


def blocks(text: str) -> list[list[Token]]:
    """Part a text into its blocks: paragraphs, lists, tables, formulas."""
    parts: list[list[Token]] = []
    for token in MARKDOWN.parse(text):
        if token.level == 0 and token.nesting >= 0:
            parts.append([])
        parts[-1].append(token)
    return parts


def figure_name(block: list[Token]) -> tuple[str, str] | None:
    """Return name and alt text of a block that is a figure and nothing else."""
    inline = block[1].children or [] if len(block) == 3 else []
    if len(inline) != 1 or inline[0].type != "image":
        return None
    target = str(inline[0].attrs["src"])
    if not target.startswith(FIGURE):
        raise SlideError(f"an image {target!r}; allowed: {FIGURE}NAME, a figure of a chapter")
    return target.removeprefix(FIGURE), inline[0].content


def render_figure(name: str, alt: str, figures: dict[str, Figure]) -> str:
    """Render a figure, with a link to where it stands in the book; a box where its chapter could not make it."""
    if name not in figures:
        raise SlideError(f"figure {name!r} is in no chapter")
    figure = figures[name]
    number = CHAPTER.match(figure.chapter)
    where = f"Chapter {int(number[0])}" if number else figure.chapter
    page = f"../book/{figure.chapter}.html"
    if figure.ratio is None:
        return f'<p class="missing">This figure was not made here: <a href="{page}">{where}</a> says why.</p>'
    return (
        f'<figure><img src="../figures/{name}.svg" alt="{escape(alt or figure.alt)}">'
        f'<figcaption><a href="{page}#fig-{name}">{where}</a></figcaption></figure>'
    )


def render_slide(slide: Slide, lecture: Lecture, first: bool = False) -> str:
    """Render one slide as a section of reveal.js."""
    check_slide(slide, first)
    text, notes = fill(slide.text, lecture.runs), fill(slide.notes, lecture.runs)
    title, *rest = blocks(text)
    words, drawn, ratios, paused = [], [], [], False
    for block in rest:
        if [token.content for token in block if token.type == "inline"] == [PAUSE]:
            paused = True
            continue
        named = figure_name(block)
        html = render_figure(*named, lecture.figures) if named else render(block)
        if named:
            ratios.append(lecture.figures[named[0]].ratio or 1.5)
        (drawn if named else words).append(f'<div class="fragment">{html}</div>' if paused else html)
    kind = "title" if first else "words" if not drawn else "alone" if not words else "beside"
    kind = "below" if kind == "beside" and min(ratios) > WIDE else kind
    body = f'<div class="text">{"".join(words)}</div>' * bool(words)
    body += f'<div class="figures">{"".join(drawn)}</div>' * bool(drawn)
    back = '<p class="back"><a href="../book/teach.html">Teaching with the book</a></p>' * first
    return (
        f'<section>\n<div class="slide {kind}">{render(title)}<div class="body">{body}</div>{back}</div>\n'
        f'<aside class="notes">{MARKDOWN.render(notes)}</aside>\n</section>\n'
    )


def render(block: list[Token]) -> str:
    """Render a block of Markdown; one that begins with a bold Predict is the question to the class."""
    html = MARKDOWN.renderer.render(block, MARKDOWN.options, {})
    return re.sub(r"^<p>(?=<strong>Predict)", '<p class="predict">', html)


PAGE = r"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="reveal/dist/reset.css">
<link rel="stylesheet" href="reveal/dist/reveal.css">
<link rel="stylesheet" href="{style}">
<meta name="dcterms.license" content="https://creativecommons.org/licenses/by/4.0/">
<noscript>
<style>
.reveal, .reveal .slides {{ height: auto !important; overflow: visible !important; position: static !important; }}
.reveal .slides section {{ display: block !important; position: static !important; }}
.reveal .slides section, .reveal .fragment {{ opacity: 1 !important; visibility: visible !important; }}
</style>
</noscript>
</head>
<body>
<div class="reveal"><div class="slides">
{slides}</div></div>
<script src="reveal/dist/reveal.js"></script>
<script src="reveal/plugin/notes/notes.js"></script>
<script>
// The formulas are set before the slides are laid out, else a printed page may be cut in the middle of one.
const start = () => Reveal.initialize({{
  width: 1280, height: 720, margin: 0, center: false, hash: true, slideNumber: "c/t", transition: "none",
  pdfSeparateFragments: false, pdfMaxPagesPerSlide: 1, plugins: [RevealNotes],
}});
window.MathJax = {{
  svg: {{scale: 0.92}},
  tex: {{inlineMath: [["\\(", "\\)"]], displayMath: [["\\[", "\\]"]]}},
  options: {{ignoreHtmlClass: "notes"}},
  startup: {{pageReady: () => MathJax.startup.defaultPageReady().then(start, start)}},
}};
</script>
<script src="../_static/mathjax/{mathjax}" onerror="start()"></script>
</body>
</html>
"""


def render_lecture(source: str, lecture: Lecture) -> str:
    """Render a lecture's text as one page.

    Raises:
        SlideError: what is wrong in the text.
    """
    slides = read_slides(source)
    sections = [render_slide(slide, lecture, first=not n) for n, slide in enumerate(slides)]
    title = slides[0].text.partition("\n")[0].removeprefix("# ")
    return PAGE.format(title=escape(title), slides="".join(sections), style=STYLE, mathjax=MATHJAX)


def reveal_folder() -> Path:
    """Find reveal.js in the installed package."""
    for file in metadata.files(PACKAGE) or []:
        if file.as_posix().endswith("revealjs/dist/reveal.js"):
            return Path(str(file.locate())).parents[1]
    raise FileNotFoundError(f"{PACKAGE} holds no reveal.js")


def write_slides(project: Project) -> list[str]:
    """Write the slides into the site and return what is wrong; a lecture with a fault is not written."""
    sources, target = project.root / "book" / "slides", project.html / "slides"
    shutil.rmtree(target, ignore_errors=True)
    for name in REVEAL:
        (target / "reveal" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(reveal_folder() / name, target / "reveal" / name)
    shutil.copy2(sources / STYLE, target)
    lecture = Lecture({**named_figures(project), **made_figures(project)}, records.load_all())
    faults = []
    for source in sorted(sources.glob("*.md")):
        try:
            page = render_lecture(source.read_text(encoding="utf-8"), lecture)
        except SlideError as error:
            faults.append(f"{source.relative_to(project.root).as_posix()}: {error}")
        else:
            (target / f"{source.stem}.html").write_text(page, encoding="utf-8")
    return faults


@console.command
def main() -> int:
    """Parse the command line and make the slides."""
    project = command_line(__doc__).parse_args().project
    faults = write_slides(project)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
