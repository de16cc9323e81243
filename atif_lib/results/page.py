"""The reproduction report as a page of the book (MyST), and how its values are written."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

from atif_lib.paths import CHECKOUT
from atif_lib.results.manifest import NEED_NOTE, VERDICTS, Check, Entry, Manifest, Measured, chain
from atif_lib.results.records import Record

__all__ = ["TITLES", "counts", "held", "interval", "our_value", "paper_value", "render", "tally"]

TITLES = {"figure": "Figures", "table": "Tables (cells)", "claim": "Claims"}
_SYMBOLS = {"=": "", ">=": "≥ ", "<=": "≤ ", ">": "> ", "<": "< "}
_SIGNS = {"reproduced": "✓", "partly": "◐", "open": "?", "not": "✗", "not run": "–"}
_HELD = {True: "holds", False: "fails", None: "open"}
_ONE_NEURON = 5  # chapters up to this one are about a single neuron, those behind about networks
_OPENING = """\
**In short.** What the paper's figures, tables and text say has {all} entries here. {neuron} are about one neuron:
{neuron_tally}. {network} are about networks: {network_tally}. The cells of its tables, all about networks of full
size, are {cells} of these: {cells_tally}.{full_size}

:::{{div}} verdict-filter
The signs: {signs}.
:::
"""
_INTRO = """\
Each figure, table cell and checkable claim of {cite:t}`castagnetti2023trainable`, with the paper's value, ours and a
verdict. A number that the paper gives in a figure and in its text has an entry for each. In a row of the paper's tables
stand networks of the paper's architecture alone. Ours are trained in three stages, from a ReLU network to spikes; the
paper's were trained directly, for 900 epochs. {ref}`Chapter 7 <staged-training>` says what that can and cannot show.
What our small networks say about the direction or the shape of a claim, and what we found beyond the paper, have
sections and counts of their own.

**How a verdict is reached.** Ours is the mean ± standard deviation over n seeds of run records committed with the book,
and, in brackets, the interval that holds the true mean with 95 % confidence. A check allows a range of values: the
relation to the paper's value says which, widened by the tolerance named below the table. The check *holds* if the
whole interval lies in this range, it *fails* if the whole interval lies outside, and otherwise it is *open*. One run
of anything that draws at random has no interval and decides nothing; a number that no seed changes ("one record") is
judged as it is. An entry is **reproduced** if all its checks hold, **not** if all fail, **partly** if some hold and
some fail, and **open** if that depends on checks that are open; **not run** means that it was not measured yet.

Intervals are Student's, with n − 1 degrees of freedom. A difference of two experiments is taken seed by seed, because
networks of one seed see the same examples in the same order; where two share no seed, the interval is Welch's. Where
many changes are compared with one base, the intervals are Dunnett's, with seeds as blocks: all of them hold together
with 95 % confidence.

This page is rendered from `data/manifest.yml` and `data/results/` by `python -m atif_lib report --format md`.
"""
_SMALL = """\
The paper's claims on networks that a laptop trains. They test the direction or the shape of a claim, not its size,
and after few epochs: they measure how fast networks begin to learn, not where they end.
"""


def render(manifest: Manifest, runs: Sequence[Record], chapters: Iterable[str] | None = None) -> str:
    """Render the book's page in MyST; `chapters` are those to link to, by default those in `_toc.yml`."""
    written = set(_written_chapters() if chapters is None else chapters)
    parts = ["# What reproduces\n", _opening(manifest, runs), _INTRO, _summary(manifest)]
    for kind, title in TITLES.items():
        entries = manifest.of_kind(kind)
        parts += [f"## {title.removesuffix(' (cells)')}\n", *_by_place(entries, runs, written)]
    if manifest.small:
        parts += ["## On our small networks\n", _SMALL, *_by_place(manifest.small, runs, written)]
    if manifest.beyond:
        parts += ["## Beyond the paper\n", _group(manifest.beyond, runs, written, "What we found", "Compared with")]
    parts += [_cited(manifest), _run_table(manifest, runs)]
    return "\n".join(parts)


def _opening(manifest: Manifest, runs: Sequence[Record]) -> str:
    """Say in one paragraph how the paper fares: of one neuron, of networks, and in its tables."""
    entries, cells = manifest.entries, manifest.of_kind("table")
    neuron = [e for e in entries if int(e.chapter[:2]) <= _ONE_NEURON]
    network = [e for e in entries if e not in neuron]
    return _OPENING.format(
        all=len(entries),
        neuron=len(neuron),
        neuron_tally=tally(neuron),
        network=len(network),
        network_tally=tally(network),
        cells=len(cells),
        cells_tally=tally(cells),
        full_size=_full_size(cells, runs),
        signs=", ".join(f"{sign} {verdict}" for verdict, sign in _SIGNS.items()),
    )


def _full_size(cells: Sequence[Entry], runs: Sequence[Record]) -> str:
    """Say in one sentence which accuracies of the paper's tables have ours beside them; each network once."""
    said: dict[str, tuple[str, str]] = {}  # by experiment: the table, and the row with its numbers
    for entry in cells:
        part = entry.checks[0]
        ours = part.measure(runs) if part.unit == "%" else None
        if ours and part.quantity:
            row = f"{_math(entry.row or '')}: {ours.mean:.2f} ({part.paper:g})"
            said.setdefault(part.quantity.experiment, (entry.where, row))
    tables = groupby(said.values(), key=itemgetter(0))
    found = ". ".join(f"{where}: {'; '.join(row for _, row in rows)}" for where, rows in tables)
    return f" Test accuracies at full size in percent, ours and in brackets the paper's. {found}." if found else ""


def _by_place(entries: Sequence[Entry], runs: Sequence[Record], written: set[str]) -> Iterator[str]:
    """Write a table for each place in the paper, and one for all figures."""
    places: dict[str, list[Entry]] = {}
    for entry in entries:
        places.setdefault("" if entry.kind == "figure" else entry.where, []).append(entry)
    for where, found in places.items():
        yield from [f"### {where}\n"] if where else []
        yield _group(found, runs, written)


def _summary(manifest: Manifest) -> str:
    rows = {f"The paper's {title.lower()}": manifest.of_kind(kind) for kind, title in TITLES.items()}
    rows |= {"On our small networks": manifest.small, "Beyond the paper": manifest.beyond}
    lines = ["| | " + " | ".join(VERDICTS) + " |", "|---|" + "--:|" * len(VERDICTS)]
    for title, entries in rows.items():
        verdicts = [e.verdict for e in entries]
        lines.append(f"| {title} | " + " | ".join(str(verdicts.count(v)) for v in VERDICTS) + " |")
    return "\n".join(lines) + "\n"


def counts(manifest: Manifest) -> list[str]:
    """Count the verdicts: a line for what the paper says, one for our small networks, one for what lies beyond."""
    parts = {
        "figures, table cells and claims of the paper": manifest.entries,
        "of its claims on our small networks, in direction or shape only": manifest.small,
        "results beyond the paper": manifest.beyond,
    }
    return [f"{len(entries)} {what}: {tally(entries)}" for what, entries in parts.items() if entries]


def tally(entries: Sequence[Entry]) -> str:
    """Count the verdicts of some entries, those that there are."""
    verdicts = [e.verdict for e in entries]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts)


def _group(
    entries: Sequence[Entry],
    runs: Sequence[Record],
    written: set[str],
    what: str = "What the paper says",
    value: str = "Paper",
) -> str:
    """Write a table of what was measured, one of what was not, folded, and what does not fit either, folded too."""
    parts: list[str] = []
    for measured in (True, False):
        own = [e for e in entries if (e.verdict != "not run") is measured]
        rows = [row for e in own for row in _rows(e, runs, written)]
        table = [f"| {what} | {value} | Ours |", "|---|---|---|", *rows, ""] if rows else []
        parts += table if measured or not table else [f":::{{dropdown}} Not run yet: {len(own)}", *table, ":::", ""]
    details = [line for e in entries for line in _details(e, runs, written)]
    return "\n".join([*parts, ":::{dropdown} Tolerances, commands and runs", *details, ":::", ""])


def _rows(entry: Entry, runs: Sequence[Record], written: set[str]) -> list[str]:
    """Write an entry's table row, and one for each of its checks where it has several.

    The verdict leads the text instead of having a column, so that the table fits a telephone.
    """
    text = f"{entry.where}: {entry.text}" if entry.kind == "figure" else entry.text
    link = f" {{doc}}`(chapter {int(entry.chapter[:2])}) <{entry.chapter}>`" if entry.chapter in written else ""
    note = f" *{entry.note}*" if entry.note and entry.verdict in NEED_NOTE else ""
    first = f"{_SIGNS[entry.verdict]} **{entry.verdict}** · {_cell(text + note)}{link}"
    if len(entry.checks) == 1:
        return [f"| {first} | {_values(entry.checks[0], runs)} |"]
    parts = [f"| – {_cell(c.text)}{held(c, runs, '*')} | {_values(c, runs)} |" for c in entry.checks]
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
    """List the entry's commands in their order, each once, with the seeds that there are, of later stages too."""
    found = []
    for (experiment, profile), command in zip(entry.trained, entry.commands, strict=True):
        later = {(name, profile) for name, _ in entry.trained if experiment in chain(name)}
        seeds = [str(seed) for seed in sorted({r.seed for r in runs if (r.experiment, r.profile) in later})]
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
        value = "" if c.paper is None else f"{c.paper:g} {c.unit}"
        lines.append(f"| {c.text} {{cite:p}}`{c.source}` | {value} | {c.where} |")
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
        return f"{part.paper[0]:g} to {part.paper[1]:g} {part.unit}".rstrip().replace("-", "−")
    return f"{_SYMBOLS[part.relation]}{part.paper:g} {part.unit}".rstrip().replace("-", "−")


def our_value(part: Check, runs: Sequence[Record], *, short: bool = False) -> str:
    """Write our value: mean ± standard deviation, unit, 95 % interval, seeds, profile; a dash where there is none.

    Where it is ``short``, for a table that says the rest beside it, the value and its interval stand alone.
    """
    ours = part.measure(runs)
    if ours is None:
        return "–"
    assert part.quantity is not None  # it measured something
    digits = _digits(part, ours)
    spread = "" if ours.sd is None else f"± {_decimal(ours.sd, digits)}"
    value = " ".join(filter(None, (_decimal(ours.mean, digits), spread, "" if short else part.unit)))
    count = "one record" if ours.sd is None and ours.interval else f"n = {ours.n}"
    source = "" if short else f" ({count}, {part.quantity.profile})"
    return f"{value}{interval(ours, digits)}{source}".replace("-", "−")


def interval(ours: Measured, digits: int) -> str:
    """Write the interval of a mean over seeds, after a blank; nothing where there is none."""
    if ours.sd is None or ours.interval is None:
        return ""
    low, high = (_decimal(bound, digits) for bound in ours.interval)
    return f" [{low}, {high}]".replace("-", "−")


def _digits(part: Check, ours: Measured) -> int:
    """Return two decimals, three where the value and the unit are small; none for one whole number."""
    if ours.sd is None and ours.mean == round(ours.mean):
        return 0
    return 2 if part.unit in ("dB", "%", "points") or abs(ours.mean) >= 1 else 3


def _decimal(value: float, digits: int) -> str:
    """Write a number with so many decimals, one digit of it at least."""
    text = f"{value:.{digits}f}"
    return f"{value:.1g}" if value and not float(text) else text


def held(part: Check, runs: Sequence[Record], mark: str = "") -> str:
    """Write whether a check holds, after a blank and between two marks; nothing where it was not measured."""
    ours = part.measure(runs)
    return "" if ours is None else f" {mark}({_HELD[part.holds(ours)]}){mark}"


def _math(text: str) -> str:
    return re.sub(r"\b([Vp])_(th|\d)\b", r"$\1_{\2}$", text)


def _cell(text: str) -> str:
    return _math(text).replace("|", "\\|")
