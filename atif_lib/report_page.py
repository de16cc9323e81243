"""The reproduction report as a page of the book (MyST), and how its values are written."""

import re
from collections.abc import Iterable, Sequence

from atif_lib.manifest import VERDICTS, Check, Entry, Manifest, Measured, Source
from atif_lib.paths import CHECKOUT
from atif_lib.records import Record

__all__ = ["TITLES", "our_value", "paper_value", "render"]

TITLES = {"figure": "Figures", "table": "Tables (cells)", "claim": "Claims"}
_SYMBOLS = {"=": "", ">=": "≥ ", "<=": "≤ ", ">": "> ", "<": "< "}
_HELD = {True: "holds", False: "fails", None: "open"}
_INTRO = """\
# What reproduces

Each figure, table cell and checkable claim of {cite:t}`castagnetti2023trainable`, with a verdict, the paper's value and
ours. **Reproduced** means that ours stands to the paper's as the row says, within the tolerance named below it;
**not**, that nothing of it does; **partly**, that some does or that the seeds leave it open; **not run**, that it was
not measured yet. Ours is the mean ± standard deviation over n seeds of run records committed with the book. A network
of another size or another schedule than the paper's never stands in a row of its tables.

This page is rendered from `data/manifest.yml` and `data/results/` by `python -m atif_lib report --format md`.
"""


def render(manifest: Manifest, runs: Sequence[Record], chapters: Iterable[str] | None = None) -> str:
    """Render the book's page in MyST; `chapters` are those to link to, by default those in `_toc.yml`."""
    written = set(_written_chapters() if chapters is None else chapters)
    parts = [_INTRO, _summary(manifest.entries)]
    for kind, title in TITLES.items():
        parts.append(f"## {title.removesuffix(' (cells)')}\n")
        places: dict[str, list[Entry]] = {}
        for entry in (e for e in manifest.entries if e.kind == kind):
            places.setdefault(_heading(entry), []).append(entry)
        for where, entries in places.items():
            parts += [f"### {where}\n"] if where else []
            parts.append(_group(entries, runs, written))
    if manifest.beyond:
        parts += ["## Beyond the paper\n", _group(list(manifest.beyond), runs, written)]
    parts += [_cited(manifest), _run_table(manifest, runs)]
    return "\n".join(parts)


def _heading(entry: Entry) -> str:
    return "" if entry.kind == "figure" else entry.where


def _summary(entries: Sequence[Entry]) -> str:
    lines = ["| | " + " | ".join(VERDICTS) + " |", "|---|" + "--:|" * len(VERDICTS)]
    for kind, title in TITLES.items():
        of_kind = [e.verdict for e in entries if e.kind == kind]
        lines.append(f"| {title} | " + " | ".join(str(of_kind.count(v)) for v in VERDICTS) + " |")
    return "\n".join(lines) + "\n"


def _group(entries: Sequence[Entry], runs: Sequence[Record], written: set[str]) -> str:
    rows = [row for e in entries for row in _rows(e, runs, written)]
    table = ["| What the paper says | Paper | Ours |", "|---|---|---|", *rows]
    details = [line for e in entries for line in _details(e, runs, written)]
    return "\n".join([*table, "", ":::{dropdown} Tolerances, commands and runs", *details, ":::", ""])


def _rows(entry: Entry, runs: Sequence[Record], written: set[str]) -> list[str]:
    """Write an entry's table row, and one for each of its checks where it has several.

    The verdict leads the text instead of having a column, so that the table fits a telephone.
    """
    text = f"{entry.where}: {entry.text}" if entry.kind == "figure" else entry.text
    link = f" {{doc}}`(chapter {int(entry.chapter[:2])}) <{entry.chapter}>`" if entry.chapter in written else ""
    note = f" *{entry.note}*" if entry.note and entry.verdict in ("partly", "not") else ""
    first = f"**{entry.verdict}** · {_cell(text + note)}{link}"
    if len(entry.checks) == 1:
        return [f"| {first} | {_values(entry.checks[0], runs)} |"]
    parts = [f"| – {_cell(c.text)}{_held(c, runs)} | {_values(c, runs)} |" for c in entry.checks]
    return [f"| {first} | | |", *parts]


def _values(part: Check, runs: Sequence[Record]) -> str:
    return f"{_cell(paper_value(part))} | {_cell(our_value(part, runs))}"


def _details(entry: Entry, runs: Sequence[Record], written: set[str]) -> list[str]:
    """Write what does not fit a narrow table: note, chapter, tolerance, command and run ids."""
    chapter = f"{{doc}}`{entry.chapter}`" if entry.chapter in written else f"{entry.chapter} (to come)"
    lines = [f"* **{entry.id}**, chapter {chapter}. {_math(entry.note)}".rstrip()]
    for n, part in enumerate(entry.checks, 1):
        which = f"check {n}: " if len(entry.checks) > 1 else ""
        ours = part.measure(runs)
        if part.tolerance:
            lines.append(f"  * {which}tolerance {part.tolerance:g} {_math(part.unit)}".rstrip())
        if ours:
            lines.append(f"  * {which}runs {', '.join(f'`{i}`' for i in ours.run_ids)}")
    return lines + [f"  * `{command}`" for command in _commands(entry, runs)]


def _commands(entry: Entry, runs: Sequence[Record]) -> list[str]:
    """List what makes the records: one command an experiment, with the seeds that there are."""
    sources = [c.source for c in entry.checks if c.source]
    sources += [s.minus for s in sources if isinstance(s.minus, Source)]
    found = []
    for s in sources:
        command = entry.command.format(experiment=s.experiment, profile=s.profile)
        seeds = [str(r.seed) for r in runs if (r.experiment, r.profile) == (s.experiment, s.profile)]
        several = len(seeds) > 1 and "{experiment}" in entry.command
        found.append(f"{command} --seeds {' '.join(seeds)}" if several else command)
    return list(dict.fromkeys(found))


def _cited(manifest: Manifest) -> str:
    lines = [
        "## Numbers that the paper quotes\n",
        "From other work, as the paper prints them; none is measured here.\n",
        ":::{dropdown} The quoted numbers",
        "| Work | Value | Printed in |",
        "|---|---|---|",
    ]
    for c in manifest.cited:
        value = "" if c["paper"] is None else f"{c['paper']:g} {c['unit']}"
        lines.append(f"| {c['text']} {{cite:p}}`{c['source']}` | {value} | {c['where']} |")
    return "\n".join([*lines, ":::", ""])


def _run_table(manifest: Manifest, runs: Sequence[Record]) -> str:
    """List the runs that any value comes from, with code version, date, duration and device."""
    parts = (part.measure(runs) for e in manifest.all() for part in e.checks)
    used = {i for ours in parts if ours for i in ours.run_ids}
    lines = ["## The runs\n"]
    if not used:
        return "\n".join([*lines, "No run record is committed yet.\n"])
    lines += [":::{dropdown} Runs that the values come from", "| Run | Commit | Date | Time | Device |"]
    lines.append("|---|---|---|--:|---|")
    for r in sorted((r for r in runs if r.run_id in used), key=lambda r: r.run_id):
        commit = f"`{r.commit[:9]}`{' and changes' if r.dirty else ''}" if r.commit else "–"
        lines.append(f"| `{r.run_id}` | {commit} | {r.date[:10]} | {r.wall_s:.0f} s | {_cell(r.device)} |")
    return "\n".join([*lines, ":::", ""])


def _written_chapters() -> set[str]:
    """Return the file stems that `_toc.yml` names; none where there is no book."""
    path = CHECKOUT and CHECKOUT / "_toc.yml"
    return set(re.findall(r"\bbook/(\w+)", path.read_text(encoding="utf-8"))) if path and path.is_file() else set()


def paper_value(part: Check) -> str:
    """Write the paper's value with its relation and unit."""
    if part.paper is None:
        return "–"
    if isinstance(part.paper, tuple):
        return f"{part.paper[0]:g} to {part.paper[1]:g} {part.unit}".rstrip()
    return f"{_SYMBOLS[part.relation]}{part.paper:g} {part.unit}".rstrip().replace("-", "−")


def our_value(part: Check, runs: Sequence[Record]) -> str:
    """Write our value: mean ± standard deviation, unit, runs and profile; a dash where there is none."""
    ours = part.measure(runs)
    if ours is None:
        return "–"
    spread = "" if ours.sd is None else f"± {_decimal(ours.sd, part, ours)}"
    words = (_decimal(ours.mean, part, ours), spread, part.unit, f"(n = {ours.n}, {part.source.profile})")
    return " ".join(filter(None, words)).replace("-", "−")


def _decimal(value: float, part: Check, ours: Measured) -> str:
    """Write a number with two decimals, three where it and the unit are small; whole ones without."""
    if ours.sd is None and value == round(value):
        return f"{value:g}"
    digits = 2 if part.unit in ("dB", "%", "points") or abs(ours.mean) >= 1 else 3
    text = f"{value:.{digits}f}"
    return f"{value:.1g}" if value and not float(text) else text


def _held(part: Check, runs: Sequence[Record]) -> str:
    ours = part.measure(runs)
    return "" if ours is None else f" *({_HELD[part.holds(ours)]})*"


def _math(text: str) -> str:
    return re.sub(r"\b([Vp])_(th|\d)\b", r"$\1_{\2}$", text)


def _cell(text: str) -> str:
    return _math(text).replace("|", "\\|")
