"""What the run records say about a metric: its mean over the seeds, how far it spreads, and a 95 % interval."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

from atif_lib.results import intervals
from atif_lib.results.records import Record, RecordError

__all__ = ["Measured", "Quantity"]


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
class Quantity:
    """Where a value of ours comes from: a metric of an experiment's records, less `minus` (a number or another).

    What is subtracted may be a difference itself: a less (b less (c less d)) is how far a and b lie apart, less how far
    d and c do.

    `one_record`: no seed changes the result, so one record says all. `family`: all experiments that are compared
    with the one of `minus`, including this one.
    """

    experiment: str
    metric: str
    profile: str
    minus: "Quantity | float | None" = None
    one_record: bool = False
    family: tuple[str, ...] = ()

    @property
    def subtracted(self) -> tuple["Quantity", ...]:
        """Return `minus`, then what is subtracted from it in turn."""
        return (self.minus, *self.minus.subtracted) if isinstance(self.minus, Quantity) else ()

    def measure(self, runs: Sequence[Record]) -> Measured | None:
        """Return the value over the seeds, None where there are no records; RecordError for a metric they lack.

        Two experiments are subtracted seed by seed, for the seeds that both have, with Student's interval; with
        Dunnett's in a family. Where they share no seed their means are subtracted, with Welch's interval; deviations
        are then added in quadrature, and n is the smaller number. An experiment of which one record says all is
        subtracted as a number, the same for every seed.
        """
        ours = self._by_seed(runs)
        if not isinstance(self.minus, Quantity):
            return self._measured([value - (self.minus or 0) for value, _ in ours.values()], ours.values())
        theirs = self.minus._differences(runs)
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
        return {r.seed: (_number(r, self.metric), (r.run_id,)) for r in own}

    def _differences(self, runs: Sequence[Record]) -> "_Values":
        """Return what is subtracted: the own values, less those of `minus` in turn, of the seeds that all have."""
        own = self._by_seed(runs)
        if not isinstance(self.minus, Quantity):
            return own
        less = self.minus._differences(runs)
        return {seed: (own[seed][0] - less[seed][0], own[seed][1] + less[seed][1]) for seed in own if seed in less}

    def _measured(self, values: Sequence[float], used: Iterable["_Value"]) -> Measured | None:
        if not values:
            return None
        middle, n = mean(values), len(values)
        run_ids = tuple(dict.fromkeys(run_id for _, ids in used for run_id in ids))
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
        run_ids = tuple(run_id for values in (ours, theirs) for _, ids in values.values() for run_id in ids)
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


_Value = tuple[float, tuple[str, ...]]  # a number, and the runs that it comes from
_Values = dict[int, _Value]  # by seed


def _number(record: Record, metric: str) -> float:
    value = record.metric(metric)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(f"{record.run_id}: metric {metric!r} is {value!r}, expected a number")
    return value
