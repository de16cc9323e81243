"""What the run records say about a metric: its mean over the seeds, how far it spreads, and a 95 % interval."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

from atif_lib.results import intervals
from atif_lib.results.records import Record, RecordError

__all__ = ["Measured", "Quantity", "number"]


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
    def exact(self) -> bool:
        """Whether no seed changes it: neither its own value nor anything that is subtracted."""
        return all(part.one_record for part in (self, *self.subtracted))

    @property
    def subtracted(self) -> tuple["Quantity", ...]:
        """Return `minus`, then what is subtracted from it in turn."""
        return (self.minus, *self.minus.subtracted) if isinstance(self.minus, Quantity) else ()

    def measure(self, runs: Sequence[Record]) -> Measured | None:
        """Return the value over the seeds, None where there are no records; RecordError for a metric they lack.

        Of what is subtracted and is a difference itself only the seeds count that all of its parts have.

        Two experiments are subtracted seed by seed, for the seeds that both have, with Student's interval; with
        Dunnett's in a family. Where they share no seed their means are subtracted, with Welch's interval; deviations
        are then added in quadrature, and n is the smaller number. An experiment of which one record says all is
        subtracted as a number, the same for every seed.
        """
        if not isinstance(self.minus, Quantity):
            values = self._differences(runs)
            return self._measured([value for value, _ in values.values()], values.values())
        ours, theirs = self._sides(runs, self.minus)
        if not ours or not theirs:
            return None
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds:
            return self._welch(ours, theirs)
        if self.family and len(seeds) > 1:
            return self._dunnett(runs, theirs, seeds)
        return self._paired(ours, theirs, seeds)

    def _by_seed(self, runs: Sequence[Record]) -> "_Values":
        own = [r for r in runs if (r.experiment, r.profile) == (self.experiment, self.profile)]
        return {r.seed: (number(r, self.metric), (r.run_id,)) for r in own}

    def _sides(self, runs: Sequence[Record], minus: "Quantity") -> tuple["_Values", "_Values"]:
        """Return the own values and what is subtracted; a number that no seed changes is the same for every seed."""
        ours, theirs = self._by_seed(runs), minus._differences(runs)
        if ours and theirs and minus.exact and not self.one_record:
            theirs = dict.fromkeys(ours, next(iter(theirs.values())))
        elif ours and theirs and self.one_record and not minus.exact:
            ours = dict.fromkeys(theirs, next(iter(ours.values())))
        return ours, theirs

    def _differences(self, runs: Sequence[Record]) -> "_Values":
        """Return the own values, less those of `minus`, of the seeds that all have."""
        if not isinstance(self.minus, Quantity):
            return {seed: (value - (self.minus or 0), ids) for seed, (value, ids) in self._by_seed(runs).items()}
        ours, theirs = self._sides(runs, self.minus)
        shared = [seed for seed in ours if seed in theirs]
        return {seed: (ours[seed][0] - theirs[seed][0], ours[seed][1] + theirs[seed][1]) for seed in shared}

    def _measured(self, values: Sequence[float], used: Iterable["_Value"]) -> Measured | None:
        if not values:
            return None
        middle, n = mean(values), len(values)
        run_ids = tuple(dict.fromkeys(run_id for _, ids in used for run_id in ids))
        if n == 1:
            return Measured(middle, None, n, run_ids, (middle, middle) if self.exact else None)
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


def number(record: Record, metric: str) -> float:
    """Return a metric of a record; RecordError for one that it lacks or that is no number."""
    value = record.metric(metric)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordError(f"{record.run_id}: metric {metric!r} is {value!r}, expected a number")
    return value
