"""The manifest of the paper's figures, tables and claims: read it, and hold its verdicts against the run records.

How a verdict is reached is `Check.holds` for one number and `Entry.expected` for an entry.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml

from atif_lib.paths import SHIPPED
from atif_lib.results import intervals
from atif_lib.results.records import Record, RecordError

__all__ = ["MANIFEST", "Check", "Entry", "Manifest", "ManifestError", "Measured", "Source", "load"]

MANIFEST = SHIPPED / "manifest.yml"
KINDS = ("figure", "table", "claim")
VERDICTS = ("reproduced", "partly", "open", "not", "not run")
NEED_NOTE = ("partly", "open", "not")
RELATIONS = ("=", ">=", "<=", ">", "<", "between")
CHAPTERS = (
    *("01_if_neuron", "02_quantization_error", "03_surrogate_gradients", "04_uniform_threshold"),
    *("05_nonuniform_thresholds", "06_first_network", "07_cifar", "08_speech", "09_ablation", "10_speed"),
    *("11_deeper_layers", "12_limits", "13_realisable_staircases", "14_better_neurons", "15_errata"),
)
_CHECK_KEYS = ("text", "paper", "unit", "relation", "tolerance", "ours")
_REQUIRED = ("id", "kind", "where", "text", "chapter", "verdict", "note")
_ENTRY_KEYS = (*_REQUIRED, *_CHECK_KEYS, "headline", "command", "checks")
_SOURCE_KEYS = ("experiment", "metric", "profile")
_CITED_KEYS = ("where", "text", "unit", "source")
_PARTS = ("entries", "small", "beyond")
_TEXTS = (*_REQUIRED, *_CITED_KEYS, *_SOURCE_KEYS, "command", "relation", "family")
_TYPES = dict.fromkeys(_TEXTS, (str, "a text")) | {
    **dict.fromkeys((*_PARTS, "cited", "one_record", "checks"), (list, "a list")),
    **dict.fromkeys(("ours", "families"), (dict, "a mapping")),
    "headline": (bool, "true or false"),
}
_ROUNDING = 1e-9  # what binary fractions make of a decimal difference


class ManifestError(ValueError):
    """A manifest that cannot be read; the message names the entry and the key."""


@dataclass(frozen=True)
class Measured:
    """Mean, sample standard deviation and 95 % interval of the mean over n runs, and which runs.

    Deviation and interval are None for one run of an experiment that draws at random. Where one record says all, the
    interval is the value alone.
    """

    mean: float
    sd: float | None
    n: int
    run_ids: tuple[str, ...]
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Source:
    """Where a value of ours comes from: a metric of an experiment's records, less `minus` (a number or another).

    `one_record`: no seed changes the result, so one record says all. `family`: every experiment that is compared with
    the one of `minus`, this one too, where several are.
    """

    experiment: str
    metric: str
    profile: str
    minus: "Source | float | None" = None
    one_record: bool = False
    family: tuple[str, ...] = ()

    def measure(self, runs: Sequence[Record]) -> Measured | None:
        """Return the value over the seeds, None where there are no records; RecordError for a metric they lack.

        Two experiments are subtracted seed by seed, for the seeds that both have, with Student's interval; with
        Dunnett's in a family. Where they share no seed their means are subtracted, with Welch's interval; deviations
        are then added in quadrature, and n is the smaller number. An experiment of which one record says all is
        subtracted as a number, the same for every seed.
        """
        ours = self._by_seed(runs)
        if not isinstance(self.minus, Source):
            return self._measured([value - (self.minus or 0) for value, _ in ours.values()], ours.values())
        theirs = self.minus._by_seed(runs)
        if not ours or not theirs:
            return None
        if self.minus.one_record and not self.one_record:
            theirs = dict.fromkeys(ours, next(iter(theirs.values())))
        elif self.one_record and not self.minus.one_record:
            ours = dict.fromkeys(theirs, next(iter(ours.values())))
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds:
            return self._welch(ours, theirs)
        if self.family and len(seeds) > 1:
            return self._dunnett(runs, theirs, seeds)
        return self._paired(ours, theirs, seeds)

    def _by_seed(self, runs: Sequence[Record]) -> "_Values":
        own = [r for r in runs if (r.experiment, r.profile) == (self.experiment, self.profile)]
        return {r.seed: (_number(r, self.metric), r.run_id) for r in own}

    def _measured(self, values: Sequence[float], used: Iterable[tuple[float, str]]) -> Measured | None:
        if not values:
            return None
        middle, n, run_ids = mean(values), len(values), tuple(dict.fromkeys(run_id for _, run_id in used))
        if n == 1:
            exact = self.one_record and getattr(self.minus, "one_record", True)
            return Measured(middle, None, n, run_ids, (middle, middle) if exact else None)
        return Measured(middle, stdev(values), n, run_ids, intervals.student(values))

    def _paired(self, ours: "_Values", theirs: "_Values", seeds: Sequence[int]) -> Measured | None:
        used = [values[seed] for values in (ours, theirs) for seed in seeds]
        return self._measured([ours[seed][0] - theirs[seed][0] for seed in seeds], used)

    def _welch(self, ours: "_Values", theirs: "_Values") -> Measured:
        one, other = ([value for value, _ in values.values()] for values in (ours, theirs))
        spreads = [stdev(values) for values in (one, other) if len(values) > 1]
        sd = sum(s**2 for s in spreads) ** 0.5 if spreads else None
        run_ids = tuple(run_id for values in (ours, theirs) for _, run_id in values.values())
        return Measured(mean(one) - mean(other), sd, min(len(one), len(other)), run_ids, intervals.welch(one, other))

    def _dunnett(self, runs: Sequence[Record], base: "_Values", seeds: Sequence[int]) -> Measured | None:
        """Compare with Dunnett's interval over the seeds that all members have; open where these are fewer than two.

        A member of which one run is there, or none, was not compared yet and does not count.
        """
        members = {name: replace(self, experiment=name)._by_seed(runs) for name in self.family}
        members = {name: values for name, values in members.items() if len(values.keys() & base.keys()) > 1}
        blocks = [seed for seed in base if all(seed in values for values in members.values())]
        rows = [[values[seed][0] for seed in blocks] for values in members.values()]
        found = intervals.dunnett(rows, [base[seed][0] for seed in blocks])
        paired = self._paired(members[self.experiment], base, blocks if found else seeds)
        return paired and replace(paired, interval=found and found[list(members).index(self.experiment)])


_Values = dict[int, tuple[float, str]]  # by seed: a number, and the run that it comes from


def _number(record: Record, metric: str) -> float:
    value = record.metric(metric)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(f"{record.run_id}: metric {metric!r} is {value!r}, expected a number")
    return value


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
        """Judge our value: True where it holds, False where it fails, None where the seeds leave it open.

        The relation, the paper's value and the tolerance allow a range. The check holds if all of the 95 % interval of
        our mean lies in that range, and fails if all of it lies outside. One run of an experiment that draws at random
        has no interval and decides nothing.
        """
        if ours.interval is None:
            return None
        low, high = ours.interval
        assert self.paper is not None  # a check without a number has no source, so nothing of ours to judge
        least, most = self.paper if isinstance(self.paper, tuple) else (self.paper, self.paper)
        if self.relation == ">":
            inside, outside = low > least, high <= least
        elif self.relation == "<":
            inside, outside = high < most, low >= most
        else:
            slack = self.tolerance + _ROUNDING
            least = -math.inf if self.relation == "<=" else least - slack
            most = math.inf if self.relation == ">=" else most + slack
            inside, outside = least <= low and high <= most, high < least or low > most
        return True if inside else False if outside else None


@dataclass(frozen=True)
class Entry:
    """A figure, a table cell or a claim, with its verdict; `command` is a format for experiment and profile."""

    id: str
    kind: str
    where: str
    text: str
    chapter: str
    checks: tuple[Check, ...]
    verdict: str
    note: str
    headline: bool
    command: str

    @cached_property
    def commands(self) -> tuple[str, ...]:
        """What makes the records: one command an experiment, those of `minus` too."""
        found = [c.source for c in self.checks if c.source]
        found += [s.minus for s in found if isinstance(s.minus, Source)]
        return tuple(dict.fromkeys(self.command.format(experiment=s.experiment, profile=s.profile) for s in found))

    def expected(self, runs: Sequence[Record]) -> str:
        """Work out the verdict: reproduced if every check holds, not if every one fails, partly if some do of each.

        Checks that are open make the verdict open, unless one holds and one fails: then it is partly however they end.
        """
        measured = [c.measure(runs) for c in self.checks]
        if not all(measured):
            return "not run"
        held = {c.holds(m) for c, m in zip(self.checks, measured, strict=True) if m}
        if held >= {True, False}:
            return "partly"
        return "open" if None in held else "reproduced" if True in held else "not"


@dataclass(frozen=True)
class Manifest:
    """What the paper says, its claims on our small networks, our results beyond it, and what it cites from others.

    `families`: by name, the experiments of which each is compared with one base.
    """

    entries: tuple[Entry, ...]
    small: tuple[Entry, ...]
    beyond: tuple[Entry, ...]
    cited: tuple[dict[str, Any], ...]
    families: Mapping[str, tuple[str, ...]]

    def of_kind(self, kind: str) -> tuple[Entry, ...]:
        """Return the paper's figures, table cells or claims."""
        return tuple(e for e in self.entries if e.kind == kind)

    def all(self) -> Iterator[Entry]:
        """Iterate over the entries of the paper, then those on small networks, then those beyond it."""
        yield from self.entries
        yield from self.small
        yield from self.beyond


def load(path: Path | str = MANIFEST) -> Manifest:
    """Read a manifest; ManifestError names the entry and the key that is wrong."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        _keys(values, ("command", "one_record", "families", *_PARTS, "cited"), "the manifest")
        _present(values, ("command", "entries"), "the manifest")
        _format(values["command"], "the manifest")
        for name, members in (values.get("families") or {}).items():
            if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
                raise ManifestError(f"the manifest: families: {name} = {members!r}: expected a list of texts")
        for number, work in enumerate(values.get("cited") or (), 1):
            _cited(work, f"the manifest: cited, number {number}")
        parts = {key: tuple(_entry(e, values) for e in values.get(key) or ()) for key in _PARTS}
    except (yaml.YAMLError, UnicodeDecodeError, ManifestError) as error:
        raise ManifestError(f"{path}: {error}") from None
    families = {name: tuple(members) for name, members in (values.get("families") or {}).items()}
    found = Manifest(**parts, cited=tuple(values.get("cited") or ()), families=families)
    ids = [e.id for e in found.all()]
    if repeated := {i for i in ids if ids.count(i) > 1}:
        raise ManifestError(f"{path}: id {', '.join(sorted(repeated))} stands more than once")
    return found


def _entry(values: dict[str, Any], manifest: dict[str, Any]) -> Entry:
    name = f"entry {values.get('id')!r}" if isinstance(values, dict) else "an entry"
    _keys(values, _ENTRY_KEYS, name)
    _present(values, _REQUIRED, name)
    _format(values.get("command") or manifest["command"], name)
    for key, allowed in {"kind": KINDS, "chapter": CHAPTERS, "verdict": VERDICTS}.items():
        _allowed(values[key], allowed, f"{name}: {key}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", values["id"]):
        raise ManifestError(f"{name}: id must be lower case words joined by '-'")
    plural = values.get("checks")
    if plural and (both := [k for k in _CHECK_KEYS[1:] if k in values]):
        raise ManifestError(f"{name}: {', '.join(both)} beside checks; they stand in the checks then")
    checks = tuple(_check(c, manifest, f"{name}, check {n}") for n, c in enumerate(plural or [values], 1))
    options = {"headline": False, "command": manifest["command"]}
    fields = {k: values[k] for k in _REQUIRED} | {k: values.get(k) or default for k, default in options.items()}
    return Entry(**fields, checks=checks)


def _check(values: dict[str, Any], manifest: dict[str, Any], name: str) -> Check:
    _keys(values, _CHECK_KEYS if "id" not in values else _ENTRY_KEYS, name)
    _present(values, ("text",), name)
    paper, relation, ours = values.get("paper"), values.get("relation", "="), values.get("ours")
    _allowed(relation, RELATIONS, f"{name}: relation")
    tolerance = _finite(values.get("tolerance", 0), f"{name}: tolerance")
    if tolerance < 0 or (tolerance and relation in ("<", ">")):
        raise ManifestError(f"{name}: tolerance = {tolerance!r}: expected a number of at least 0, 0 on < and >")
    if ours is not None or paper is not None:
        _paper(paper, relation, f"{name}: paper")
    paper = tuple(paper) if isinstance(paper, list) else paper
    source = None if ours is None else _source(ours, manifest, f"{name}: ours")
    return Check(values["text"], paper, values.get("unit") or "", relation, tolerance, source)


def _source(values: dict[str, Any], manifest: dict[str, Any], name: str, whole: dict[str, str] | None = None) -> Source:
    """Read a pointer; `whole` is the one that this is subtracted from, and gives what is left out here."""
    _keys(values, _SOURCE_KEYS if whole else (*_SOURCE_KEYS, "minus", "family"), name)
    own = {key: values.get(key, (whole or {}).get(key)) for key in _SOURCE_KEYS}
    _present(own, _SOURCE_KEYS, name)
    _allowed(own["profile"], ("laptop", "full"), f"{name}: profile")  # smoke runs are no results
    own["one_record"] = own["experiment"] in (manifest.get("one_record") or ())
    minus, family = values.get("minus"), ()
    if isinstance(minus, dict):
        minus = _source(minus, manifest, f"{name}: minus", own)
    elif minus is not None:
        _finite(minus, f"{name}: minus", "or a mapping")
    if "family" in values:
        families = manifest.get("families") or {}
        _allowed(values["family"], tuple(families), f"{name}: family")
        family = tuple(families[values["family"]])
        if not isinstance(minus, Source):
            raise ManifestError(f"{name}: minus = {minus!r}: expected the experiment that the family is compared with")
        _allowed(own["experiment"], family, f"{name}: experiment, in family {values['family']!r}")
    return Source(**own, minus=minus, family=family)


def _cited(values: Any, name: str) -> None:
    _keys(values, (*_CITED_KEYS, "paper"), name)
    _present(values, _CITED_KEYS, name)
    if values.get("paper") is not None:
        _finite(values["paper"], f"{name}: paper")


def _paper(value: Any, relation: str, name: str) -> None:
    """Hold a value of the paper to its relation: one number, or for between two."""
    if relation != "between":
        _finite(value, name, "or [low, high] for between")
        return
    if not isinstance(value, list) or len(value) != 2:
        raise ManifestError(f"{name} = {value!r}: expected [low, high]")
    if _finite(value[0], name) > _finite(value[1], name):
        raise ManifestError(f"{name} = {value!r}: expected [low, high]")


def _finite(value: Any, name: str, other: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ManifestError(f"{name} = {value!r}: expected a finite number{', ' * bool(other)}{other}")
    return value


def _format(command: str, name: str) -> None:
    try:
        command.format(experiment="", profile="")
    except (LookupError, ValueError, AttributeError):
        raise ManifestError(
            f"{name}: command = {command!r}: expected a text with {{experiment}} and {{profile}}"
        ) from None


def _keys(values: Any, allowed: Sequence[str], name: str) -> None:
    """Hold a mapping to the keys that it may have, and each to its type; a key without a value counts as left out."""
    if not isinstance(values, dict):
        raise ManifestError(f"{name}: expected a mapping, got {values!r}")
    if unknown := [k for k in values if k not in allowed]:
        raise ManifestError(f"{name}: unknown key {', '.join(map(str, unknown))}; allowed are {', '.join(allowed)}")
    for key, value in values.items():
        wanted, words = _TYPES.get(key, (object, ""))
        if value is not None and not isinstance(value, wanted):
            raise ManifestError(f"{name}: {key} = {value!r}: expected {words}")


def _present(values: dict[str, Any], required: Sequence[str], name: str) -> None:
    if missing := [k for k in required if values.get(k) is None]:
        raise ManifestError(f"{name}: missing {', '.join(missing)}")


def _allowed(value: Any, allowed: Sequence[str], name: str) -> None:
    if value not in allowed:
        raise ManifestError(f"{name} = {value!r}: expected one of {', '.join(allowed)}")
