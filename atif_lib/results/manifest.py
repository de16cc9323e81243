"""The manifest of the paper's figures, tables and claims: read it, and hold its verdicts against the run records.

How a verdict is reached is `Check.holds` for one number and `Entry.expected` for an entry. The models are what may
stand in the file; `write_schema` writes them down for editors.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf, ValidationError, ValidationInfo, model_validator
from pydantic.json_schema import GenerateJsonSchema, SkipJsonSchema
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from atif_lib import checks
from atif_lib.paths import SHIPPED, write_whole
from atif_lib.results.measured import Measured, Quantity
from atif_lib.results.models import Model, Number, Several, Slug, fault
from atif_lib.results.records import Record

__all__ = [
    "MANIFEST",
    "STAGED",
    "STAGES",
    "Check",
    "Cited",
    "Entry",
    "Manifest",
    "ManifestError",
    "Measured",
    "Quantity",
    "chain",
    "load",
    "schema",
    "write_schema",
]

MANIFEST = SHIPPED / "manifest.yml"
SCHEMA = SHIPPED / "manifest.schema.json"
Verdict = Literal["reproduced", "partly", "open", "not", "not run"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
NEED_NOTE = ("partly", "open", "not")
PARTS = ("entries", "small", "beyond")
Chapter = Literal[
    "01_if_neuron",
    "02_quantization_error",
    "03_surrogate_gradients",
    "04_uniform_threshold",
    "05_nonuniform_thresholds",
    "06_first_network",
    "07_cifar",
    "08_speech",
    "09_ablation",
    "10_speed",
    "11_deeper_layers",
    "12_limits",
    "13_realisable_staircases",
    "14_better_neurons",
    "15_errata",
    "16_own_neuron",
]
Profile = Literal["laptop", "full"]  # smoke runs are no results
STAGES: dict[str, str | None] = {
    "relu": None,
    "quantized-fixed": "relu",
    "quantized": "relu",
    "if": "quantized-fixed",
    "atif-u": "quantized",
    "atif-nu": "quantized",
}
"""The rows of a training in stages, and the one whose network each goes on with."""

STAGED = ("staged", "staged-cutout")
"""What names of trainings in stages end in: by the present recipe, and by the one before it."""

_ROUNDING = 1e-9  # what binary fractions make of a decimal difference


class ManifestError(ValueError):
    """A manifest that cannot be read; the message names the entry and the key."""


class Written(Model):
    """A mapping of the file: a key without a value counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if v is not None} if isinstance(values, dict) else values


class Minus(Written):
    """What is subtracted: what is left out here is as in what it is subtracted from."""

    experiment: str | None = None
    metric: str | None = None
    profile: Profile | None = None
    minus: "Minus | None" = None

    def quantity(self, whole: Quantity, shared: "Shared") -> Quantity:
        """Fill in what is left out."""
        found = Quantity(*(getattr(self, key) or getattr(whole, key) for key in ("experiment", "metric", "profile")))
        minus = self.minus and self.minus.quantity(found, shared)
        return dataclasses.replace(found, minus=minus, one_record=found.experiment in shared.one_record)


class Pointer(Written):
    """Where a value of ours comes from, as the file has it; `family` is the name of one."""

    experiment: str
    metric: str
    profile: Profile
    minus: Minus | Number | None = None
    family: str | None = None

    def quantity(self, shared: "Shared") -> Quantity:
        """Fill in what the rest of the manifest says."""
        one_record, minus, family = self.experiment in shared.one_record, self.minus, ()
        found = Quantity(self.experiment, self.metric, self.profile, one_record=one_record)
        if isinstance(minus, Minus):
            minus = minus.quantity(found, shared)
        if self.family is not None:
            checks.choice("family", self.family, shared.families)
            if not isinstance(minus, Quantity):
                raise ValueError(f"minus={minus!r}; allowed: the experiment that the family is compared with")
            family = shared.families[self.family]
            checks.choice("experiment", self.experiment, family)
        return dataclasses.replace(found, minus=minus, family=family)


def _resolved(value: Pointer | Quantity | None, info: ValidationInfo) -> Quantity | None:
    """Make a quantity of a pointer, with the rest of the manifest as the context of validation."""
    return value.quantity(cast(Shared, info.context)) if isinstance(value, Pointer) else value


class Check(Written):
    """One number of the paper, how ours has to stand to it, and where ours comes from."""

    text: str
    paper: Number | Annotated[tuple[Number, Number], Field(strict=False)] | None = None
    unit: str = ""
    relation: Literal["=", ">=", "<=", ">", "<", "between"] = "="
    tolerance: Number = 0.0
    quantity: Annotated[Pointer | SkipJsonSchema[InstanceOf[Quantity]] | None, AfterValidator(_resolved)] = Field(
        default=None, alias="ours"
    )

    @model_validator(mode="after")
    def _numbers_fit_the_relation(self) -> Self:
        if self.tolerance < 0 or (self.tolerance and self.relation in ("<", ">")):
            raise ValueError(f"tolerance={self.tolerance!r}; allowed: a number of at least 0, 0 on < and >")
        between, paper = self.relation == "between", self.paper
        fits = isinstance(paper, tuple) and paper[0] <= paper[1] if between else isinstance(paper, float)
        if not fits and (paper is not None or self.quantity is not None):
            allowed = "[low, high]" if between else "a finite number, or [low, high] for between"
            raise ValueError(f"paper={paper!r}; allowed: {allowed}")
        return self

    def measure(self, runs: Sequence[Record]) -> Measured | None:
        """Return our value, None where no records give one."""
        return self.quantity.measure(runs) if isinstance(self.quantity, Quantity) else None

    def holds(self, ours: Measured) -> bool | None:
        """Judge our value: True where it holds, False where it fails, None where the seeds leave it open.

        The relation, the paper's value and the tolerance allow a range. The check holds if all of the 95 % interval of
        our mean lies in that range, and fails if all of it lies outside. One run of an experiment that draws at random
        has no interval and decides nothing.
        """
        if ours.interval is None:
            return None
        low, high = ours.interval
        assert self.paper is not None  # a check without a number has no quantity, so nothing of ours to judge
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


def _format(command: str) -> str:
    """Refuse a command that cannot be filled in."""
    try:
        command.format(experiment="", profile="")
    except (LookupError, ValueError, AttributeError):
        raise PydanticCustomError("command", "a text with {experiment} and {profile}") from None
    return command


def chain(experiment: str) -> list[str]:
    """List a training in stages, whose name has an ending of `STAGED`, from its first stage to this one."""
    for (stage, before), ending in product(STAGES.items(), STAGED):
        stem = experiment.removesuffix(f"-{stage}-{ending}")
        if before and stem != experiment:
            return [*chain(f"{stem}-{before}-{ending}"), experiment]
    return [experiment]


Command = Annotated[str, AfterValidator(_format)]
_ONLY_CELLS = {
    "if": {"properties": {"kind": {"const": "table"}}},
    "then": {"required": ["row", "column"]},
    "else": {"properties": {"row": False, "column": False}},
}


class Entry(Check):
    """A figure, a table cell or a claim, with its verdict; one that has no `checks` is a check itself.

    `row` and `column` say where a cell stands in its table; `command` is a format for experiment and profile.
    """

    model_config = ConfigDict(json_schema_extra=_ONLY_CELLS)

    id: Slug
    kind: Literal["figure", "table", "claim"]
    where: str
    row: str | None = None
    column: str | None = None
    chapter: Chapter
    parts: Several[Check] = Field((), alias="checks")
    verdict: Verdict
    note: str
    headline: bool = False
    command: Command = ""

    @model_validator(mode="before")
    @classmethod
    def _command_of_the_manifest(cls, values: Any, info: ValidationInfo) -> Any:
        if isinstance(values, dict) and info.context:
            return values | {"command": values.get("command") or info.context.command}
        return values

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> Self:
        for key in ("row", "column"):
            if (getattr(self, key) is None) == (self.kind == "table"):
                allowed = "a text in an entry of kind table" if self.kind == "table" else "only of kind table"
                raise ValueError(f"{key}={getattr(self, key)!r}; allowed: {allowed}")
        names = {name: field.alias or name for name, field in Check.model_fields.items() if name != "text"}
        if self.parts and (both := [key for name, key in names.items() if name in self.model_fields_set]):
            raise ValueError(f"{', '.join(both)} beside checks; allowed: in each of the checks")
        return self

    @property
    def checks(self) -> tuple[Check, ...]:
        """Its checks, of which there is at least one."""
        return self.parts or (self,)

    @property
    def quantities(self) -> list[Quantity]:
        """What is measured for it: that of each check, then those that are subtracted."""
        found = [c.quantity for c in self.checks if isinstance(c.quantity, Quantity)]
        return found + [subtracted for quantity in found for subtracted in quantity.subtracted]

    @property
    def trained(self) -> tuple[tuple[str, str], ...]:
        """Experiment and profile of all that is run for it, each behind those whose weights it starts from."""
        return tuple(dict.fromkeys((name, q.profile) for q in self.quantities for name in chain(q.experiment)))

    @property
    def commands(self) -> tuple[str, ...]:
        """What makes the records: the command of each that is `trained`."""
        return tuple(self.command.format(experiment=name, profile=profile) for name, profile in self.trained)

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


class Cited(Written):
    """A number that the paper quotes from other work; `source` is the work's key in the bibliography."""

    where: str
    text: str
    paper: Number | None = None
    unit: str
    source: str


class Shared(Written):
    """What entries refer to.

    `command` makes a record; of `one_record` one record says all; `families` has, by name, the experiments of which
    each is compared with one base.
    """

    command: Command
    one_record: Several[str] = ()
    families: dict[str, Several[str]] = Field({})


class Manifest(Shared):
    """What the paper says, its claims on our small networks, our results beyond it, and what it cites from others."""

    entries: Several[Entry]
    small: Several[Entry] = ()
    beyond: Several[Entry] = ()
    cited: Several[Cited] = ()

    @model_validator(mode="after")
    def _every_id_once(self) -> Self:
        ids = [e.id for e in self.all()]
        if repeated := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"id={', '.join(repeated)}; allowed: each id once")
        return self

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
        values = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: {error}") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ManifestError(f"{path}{line}: {getattr(error, 'problem', None) or error}") from None
    try:
        own = {k: v for k, v in values.items() if k in Shared.model_fields} if isinstance(values, dict) else values
        shared = Shared.model_validate(own)
        return Manifest.model_validate(values, context=shared)
    except ValidationError as error:
        raise ManifestError(f"{path}: {_sentence(error, values)}") from None


def _sentence(error: ValidationError, values: Any) -> str:
    """Say what is wrong, and in which entry."""
    place, sentence = fault(error, values)
    name = ["the manifest"]
    match place:
        case [part, int(n), *rest] if part in PARTS:
            name, place = [f"entry {values[part][n].get('id')!r}"], rest
        case ["cited", int(n), *rest]:
            name, place = ["the manifest", f"cited, number {n + 1}"], rest
    match place:
        case ["checks", int(n), *rest]:
            name, place = [f"{name[0]}, check {n + 1}"], rest
    return ": ".join([*name, *map(str, place), sentence])


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        """Write no titles: they would be the names of the keys once more."""
        return False


def schema() -> str:
    """Return the JSON schema of a manifest, by which an editor checks and completes one."""
    found = Manifest.model_json_schema(schema_generator=_Schema)
    return json.dumps({"$schema": _Schema.schema_dialect} | found, indent=1, ensure_ascii=False) + "\n"


def write_schema(path: Path | str = SCHEMA) -> None:
    """Write the JSON schema beside the manifest."""
    write_whole(Path(path), lambda file: file.write(schema().encode()))
