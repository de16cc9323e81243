"""What records and manifest have in common: models that take nothing they do not know, and their errors in a sentence.

An error reads `key=value; allowed: ...`, as those of `atif_lib.checks` do.
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = ["Commit", "Model", "Number", "Several", "Sha256", "Slug", "fault"]

T = TypeVar("T")
_SLUG, _COMMIT, _SHA256 = "^[a-z0-9]+(-[a-z0-9]+)*$", "^[0-9a-f]{40}$", "^[0-9a-f]{64}$"

Slug = Annotated[str, Field(pattern=_SLUG)]
Commit = Annotated[str, Field(pattern=_COMMIT)]
Sha256 = Annotated[str, Field(pattern=_SHA256)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Several = Annotated[tuple[T, ...], Field(strict=False)]  # a list of YAML becomes a tuple

_PATTERNS = {_SLUG: "lower case words joined by '-'", _COMMIT: "40 hex digits", _SHA256: "64 hex digits"}
_WORDS = {  # for pydantic's kinds of errors, what is allowed
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "an integer",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_type": "a text",
    "tuple_type": "a list",
}


class Model(BaseModel):
    """Values that stay as they are; an unknown key is refused, and so is a value of another type, 1 for true too."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        """Name the keys that are allowed, which pydantic's own error does not."""
        names = [field.alias or name for name, field in cls.model_fields.items()]
        if isinstance(values, dict) and (unknown := [str(key) for key in values if key not in names]):
            raise ValueError(f"unknown key {', '.join(unknown)}; allowed: {', '.join(names)}")
        return values


def fault(error: ValidationError, values: Any) -> tuple[list[str | int], str]:
    """Return where the first error of some values lies, and a sentence on the key that is wrong there.

    Args:
        error: what pydantic raised.
        values: what it was given: keys and numbers lead from there to the place.
    """
    faults = error.errors(include_url=False)
    first = faults[0]
    place, value = _place(first["loc"], values)
    if first["type"] == "value_error":  # by a validator of ours, which says all
        return place, str(first.get("ctx", {})["error"])
    if first["type"] == "missing":
        missing = [f["loc"][-1] for f in faults if (f["type"], f["loc"][:-1]) == ("missing", first["loc"][:-1])]
        return place, f"missing {', '.join(map(str, missing))}"
    here = [f for f in faults if _place(f["loc"], values)[0] == place and f["type"] != "is_instance_of"]
    start = max((n for n, part in enumerate(place) if isinstance(part, str)), default=0)
    key = ".".join(map(str, place[start:])) + "=" * bool(place)
    shown = " ".join(repr(value).split())  # an array's has lines
    return place[:start], f"{key}{shown}; allowed: {' or '.join(dict.fromkeys(map(_allowed, here)))}"


def _place(path: tuple[str | int, ...], values: Any) -> tuple[list[str | int], Any]:
    """Follow a path of pydantic's as far as it leads; what leads nowhere in it is the name of a member of a union."""
    place: list[str | int] = []
    for part in path:
        try:
            values = values[part]
        except (LookupError, TypeError):
            continue
        place.append(part)
    return place, values


def _allowed(found: Any) -> str:
    """Say what is allowed where pydantic found an error."""
    if found["type"] == "string_pattern_mismatch":
        return _PATTERNS[found["ctx"]["pattern"]]
    if found["type"] == "greater_than_equal":
        return f"{found['ctx']['ge']:g} or more"
    return _WORDS.get(found["type"]) or found["msg"].removeprefix("Input should be ")
