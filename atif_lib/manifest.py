"""The manifest of the paper's figures, tables and claims: read it, and hold its verdicts against the run records."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from atif_lib.paths import SHIPPED
from atif_lib.records import Record, RecordError

__all__ = ["MANIFEST", "Check", "Entry", "Manifest", "ManifestError", "Measured", "Source", "load"]

MANIFEST = SHIPPED / "manifest.yml"
KINDS = ("figure", "table", "claim")
VERDICTS = ("reproduced", "partly", "not", "not run")
RELATIONS = ("=", ">=", "<=", ">", "<", "between")
CHAPTERS = (
    *("01_if_neuron", "02_quantization_error", "03_surrogate_gradients", "04_uniform_threshold"),
    *("05_nonuniform_thresholds", "06_first_network", "07_cifar", "08_speech", "09_ablation", "10_speed"),
    *("11_deeper_layers", "12_limits", "13_realisable_staircases", "14_better_neurons", "15_errata"),
)
_CHECK_KEYS = ("text", "paper", "unit", "relation", "tolerance", "ours")
_REQUIRED = ("id", "kind", "where", "text", "chapter", "verdict", "note")
_ENTRY_KEYS = (*_REQUIRED, *_CHECK_KEYS, "headline", "command", "checks", "judged")
_ROUNDING = 1e-9  # what binary fractions make of a decimal difference


class ManifestError(ValueError):
    """A manifest that cannot be read; the message names the entry and the key."""


@dataclass(frozen=True)
class Measured:
    """Mean and sample standard deviation (None for one run) over n runs, and which runs."""

    mean: float
    sd: float | None
    n: int
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Where a value of ours comes from: a metric of an experiment's records, less `minus` (a number or another)."""

    experiment: str
    metric: str
    profile: str
    minus: "Source | float | None" = None

    def measure(self, runs: Sequence[Record]) -> Measured | None:
        """Return the value over the seeds, None where there are no records; RecordError for a metric they lack.

        Two experiments are subtracted seed by seed, for the seeds that both have. Where they have none in common means
        are, the spreads added in quadrature and n the smaller number, so that the standard error is not too small.
        """
        own = [r for r in runs if (r.experiment, r.profile) == (self.experiment, self.profile)]
        ours = _measured([_number(r, self.metric) for r in own], [r.run_id for r in own])
        if not isinstance(self.minus, Source) or ours is None:
            return ours and Measured(ours.mean - (self.minus or 0), ours.sd, ours.n, ours.run_ids)
        other = [r for r in runs if (r.experiment, r.profile) == (self.minus.experiment, self.minus.profile)]
        theirs = self.minus.measure(runs)
        if theirs is None:
            return None
        pairs = [(a, b) for a in own for b in other if a.seed == b.seed]
        if pairs:
            run_ids = tuple(dict.fromkeys(r.run_id for side in zip(*pairs, strict=True) for r in side))
            return _measured([_number(a, self.metric) - _number(b, self.minus.metric) for a, b in pairs], run_ids)
        spreads = [m.sd for m in (ours, theirs) if m.sd is not None]
        sd = sum(s**2 for s in spreads) ** 0.5 if spreads else None
        run_ids = tuple(dict.fromkeys((*ours.run_ids, *theirs.run_ids)))
        return Measured(ours.mean - theirs.mean, sd, min(ours.n, theirs.n), run_ids)


def _number(record: Record, metric: str) -> float:
    value = record.metric(metric)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(f"{record.run_id}: metric {metric!r} is {value!r}, expected a number")
    return value


def _measured(values: Sequence[float], run_ids: Sequence[str]) -> Measured | None:
    if not values:
        return None
    return Measured(mean(values), stdev(values) if len(values) > 1 else None, len(values), tuple(run_ids))


@dataclass(frozen=True)
class Check:
    """One number of the paper, how ours has to stand to it, and where ours comes from."""

    text: str
    paper: float | tuple[float, float] | None
    unit: str
    relation: str
    tolerance: float
    source: Source | None

    def measure(self, runs: Sequence[Record]) -> Measured | None:
        """Return our value, None where no records give one."""
        return None if self.source is None else self.source.measure(runs)

    def holds(self, ours: Measured) -> bool | None:
        """Tell whether our value agrees; None where the spread of the seeds leaves a strict relation open."""
        if self.relation in ("<", ">"):
            distance = (ours.mean - self.paper) * (1 if self.relation == ">" else -1)
            doubt = 2 * (ours.sd or 0.0) / ours.n**0.5
            return None if 0 < abs(distance) <= doubt else distance > 0
        low, high = self.paper if isinstance(self.paper, tuple) else (self.paper, self.paper)
        slack = self.tolerance + _ROUNDING
        return (self.relation == "<=" or ours.mean >= low - slack) and (
            self.relation == ">=" or ours.mean <= high + slack
        )


@dataclass(frozen=True)
class Entry:
    """A figure, a table cell or a claim, with its verdict.

    `judged` marks a verdict of partly that a person gave where the checks say otherwise. `command` is a format for
    experiment and profile.
    """

    id: str
    kind: str
    where: str
    text: str
    chapter: str
    checks: tuple[Check, ...]
    verdict: str
    note: str
    headline: bool
    judged: bool
    command: str

    @cached_property
    def commands(self) -> tuple[str, ...]:
        """What makes the records: one command an experiment, those of `minus` too."""
        found = [c.source for c in self.checks if c.source]
        found += [s.minus for s in found if isinstance(s.minus, Source)]
        return tuple(dict.fromkeys(self.command.format(experiment=s.experiment, profile=s.profile) for s in found))

    def expected(self, runs: Sequence[Record]) -> str:
        """Work out the verdict: reproduced if every check holds, not if none does, partly between."""
        measured = [c.measure(runs) for c in self.checks]
        if not all(measured):
            return "not run"
        held = [c.holds(m) for c, m in zip(self.checks, measured, strict=True)]
        return "reproduced" if all(held) else "not" if all(h is False for h in held) else "partly"


@dataclass(frozen=True)
class Manifest:
    """The entries of the paper, what it cites from others, and our results beyond it."""

    entries: tuple[Entry, ...]
    cited: tuple[dict[str, Any], ...]
    beyond: tuple[Entry, ...]

    def all(self) -> Iterator[Entry]:
        """Iterate over the entries of the paper, then those beyond it."""
        yield from self.entries
        yield from self.beyond


def load(path: Path | str = MANIFEST) -> Manifest:
    """Read a manifest; ManifestError names the entry and the key that is wrong."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        _keys(values, ("command", "entries", "cited", "beyond"), "the manifest")
        _present(values, ("command", "entries"), "the manifest")
        entries, beyond = (
            tuple(_entry(e, values["command"]) for e in values.get(key) or ()) for key in ("entries", "beyond")
        )
    except (yaml.YAMLError, ManifestError) as error:
        raise ManifestError(f"{path}: {error}") from None
    ids = [e.id for e in (*entries, *beyond)]
    if repeated := {i for i in ids if ids.count(i) > 1}:
        raise ManifestError(f"{path}: id {', '.join(sorted(repeated))} stands more than once")
    return Manifest(entries, tuple(values.get("cited") or ()), beyond)


def _entry(values: dict[str, Any], command: str) -> Entry:
    name = f"entry {values.get('id')!r}" if isinstance(values, dict) else "an entry"
    _keys(values, _ENTRY_KEYS, name)
    _present(values, _REQUIRED, name)
    for key, allowed in {"kind": KINDS, "chapter": CHAPTERS, "verdict": VERDICTS}.items():
        _allowed(values[key], allowed, f"{name}: {key}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", values["id"]):
        raise ManifestError(f"{name}: id must be lower case words joined by '-'")
    plural = values.get("checks")
    if plural and (both := [k for k in _CHECK_KEYS[1:] if k in values]):
        raise ManifestError(f"{name}: {', '.join(both)} beside checks; they stand in the checks then")
    checks = tuple(_check(c, f"{name}, check {n}") for n, c in enumerate(plural or [values], 1))
    options = {"headline": False, "judged": False, "command": command}
    if values.get("judged") and values["verdict"] != "partly":
        raise ManifestError(f"{name}: judged goes with the verdict partly only, not with {values['verdict']!r}")
    fields = {k: values[k] for k in _REQUIRED} | {k: values.get(k, default) for k, default in options.items()}
    return Entry(**fields, checks=checks)


def _check(values: dict[str, Any], name: str) -> Check:
    _keys(values, _CHECK_KEYS if "id" not in values else _ENTRY_KEYS, name)
    _present(values, ("text",), name)
    paper, relation, ours = values.get("paper"), values.get("relation", "="), values.get("ours")
    _allowed(relation, RELATIONS, f"{name}: relation")
    tolerance = values.get("tolerance", 0)
    if not isinstance(tolerance, int | float) or tolerance < 0 or (tolerance and relation in ("<", ">")):
        raise ManifestError(f"{name}: tolerance = {tolerance!r}: expected a number of at least 0, 0 on < and >")
    numbers = paper if relation == "between" and isinstance(paper, list) and len(paper) == 2 else [paper]
    if ours is not None and not all(isinstance(p, int | float) for p in numbers):
        raise ManifestError(f"{name}: paper = {paper!r}: expected a number, or [low, high] for between")
    paper = tuple(paper) if isinstance(paper, list) else paper
    source = None if ours is None else _source(ours, {}, f"{name}: ours")
    return Check(values["text"], paper, values.get("unit", ""), relation, tolerance, source)


def _source(values: dict[str, Any], inherited: dict[str, str], name: str) -> Source:
    _keys(values, ("experiment", "metric", "profile", "minus"), name)
    own = {**inherited, **{k: v for k, v in values.items() if k != "minus"}}
    _present(own, ("experiment", "metric", "profile"), name)
    _allowed(own["profile"], ("laptop", "full"), f"{name}.profile")  # smoke runs are no results
    minus = values.get("minus")
    if isinstance(minus, dict) and not inherited:
        minus = _source(minus, own, f"{name}.minus")
    elif minus is not None and not isinstance(minus, int | float):
        raise ManifestError(f"{name}.minus = {minus!r}: expected a number, or a mapping without minus")
    return Source(**own, minus=minus)


def _keys(values: Any, allowed: Sequence[str], name: str) -> None:
    if not isinstance(values, dict):
        raise ManifestError(f"{name}: expected a mapping, got {values!r}")
    if unknown := [k for k in values if k not in allowed]:
        raise ManifestError(f"{name}: unknown key {', '.join(map(str, unknown))}; allowed are {', '.join(allowed)}")


def _present(values: dict[str, Any], required: Sequence[str], name: str) -> None:
    if missing := [k for k in required if values.get(k) is None]:
        raise ManifestError(f"{name}: missing {', '.join(missing)}")


def _allowed(value: Any, allowed: Sequence[str], name: str) -> None:
    if value not in allowed:
        raise ManifestError(f"{name} = {value!r}: expected one of {', '.join(allowed)}")
