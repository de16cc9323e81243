"""Arguments in one form of error: the argument, its value, what is allowed."""

from numbers import Integral, Real
from typing import Any

__all__ = ["integer", "number"]


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
    return float(value)


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())  # a tensor's has lines
