"""Arguments in one form of error: the argument, its value, what is allowed."""

import difflib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

__all__ = ["boolean", "choice", "did_you_mean", "integer", "number"]


def boolean(name: str, value: Any) -> bool:
    """Return True or False; what is only true or false in a condition, such as 1 or "no", is neither.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name}={_shown(value)}; allowed: True, False")
    return value


def integer(name: str, value: Any, least: int = 1) -> int:
    """Return an integer of Python, NumPy's included; booleans and floats are none.

    Raises:
        ValueError: it is no integer, or less than ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name}={_shown(value)}; allowed: an integer, {least} or more")
    return int(value)


def number(name: str, value: Any) -> float:
    """Return a float of Python for one real number, NumPy's and tensors without a gradient included; booleans are none.

    Raises:
        ValueError: it is no such number. NaN and infinity are numbers.
    """
    learned = getattr(value, "requires_grad", False)
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 and not learned:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name}={_shown(value)}; allowed: one number" + ", without a gradient" * learned)
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}={_shown(value)}; allowed: one number that a float can hold") from None


def choice(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Refuse a value that is not one of those allowed; the message shows near ones.

    Raises:
        ValueError: it is none of them.
    """
    known = list(allowed)
    if value not in known:
        raise ValueError(f"{name}={value!r}; allowed: {', '.join(map(repr, known))}{did_you_mean(value, known)}")


def did_you_mean(name: Any, known: Iterable[Any], most: int = 3) -> str:
    """Return `: did you mean this, that?` for a name that is not known, or nothing where no known one is near."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=most, cutoff=0.4)
    return f": did you mean {', '.join(near)}?" if near else ""


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())  # a tensor's has lines
