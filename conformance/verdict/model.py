"""Expectations, comparisons and verdicts, frozen.

An *outcome* is what came of a check; a *reason* says what about it. The comparator fills comparisons, the verdict is
drawn from them in `judge.py` alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.model import Shape
from conformance.formats import STORED, Float64, Format


class Outcome(StrEnum):
    """What came of a check, from the best to the worst."""

    AGREES = "AGREES"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNSUPPORTED = "UNSUPPORTED"
    REFUSED = "REFUSED"
    LOW_PRECISION = "LOW_PRECISION"
    FELL_BACK = "FELL_BACK"
    UNSTABLE = "UNSTABLE"
    DIFFERS = "DIFFERS"
    ACCEPTED_INVALID = "ACCEPTED_INVALID"
    TIMED_OUT = "TIMED_OUT"
    CRASHED = "CRASHED"

    @property
    def severity(self) -> int:
        """0 is the best; the outcome of several checks is the worst of theirs."""
        return _SEVERITY[self]


_SEVERITY: Final = {outcome: place for place, outcome in enumerate(Outcome)}


class Reason(StrEnum):
    """What about it; from `exact` to `within norm-wise bound` are the ways to agree, from the strongest."""

    EXACT = "exact"
    WITHIN_BOUND = "within bound"
    NORM_WISE = "within norm-wise bound"
    REFUSED_AS_EXPECTED = "refused"
    VALUE = "value"
    SHAPE = "shape"
    FORMAT = "format"
    NAN = "nan"
    INFINITY = "infinity"
    SIGN = "sign of zero"
    TRUNCATED = "cut off instead of rounded"
    STORAGE_ACCUMULATOR = "accumulated in the storage format"
    TF32_INPUTS = "TF32 inputs"
    BFLOAT16_INPUTS = "bfloat16 inputs"
    FLOAT16_INPUTS = "float16 inputs"
    FLOAT32_ARITHMETIC = "float32 arithmetic"
    SHORT_ACCUMULATOR = "accumulated in a shorter format"
    DISTRIBUTION = "distribution"
    MISSING = "missing"
    MUTATED = "input mutated"
    STATED = "stated value"
    CLAIM = "claim"
    ACCURACY = "accuracy"
    VACUOUS = "vacuous bound"
    ERROR = "error"
    DEATH = "process died"
    SILENCE = "no answer"
    NO_COUNTERPART = "no counterpart"
    DEVICE = "another device"
    REPEATED = "other bits when repeated"
    NO_READING = "no reading"
    SEVERAL_READINGS = "several readings"


ZERO: Final = np.zeros(())
ONE: Final = np.ones(())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expectation:
    """What an array must be.

    An error may be as large as growth * size + flushed before the last rounding, by element; 0 asks for the correctly
    rounded value. The three are kept apart, as most comparisons need no array of bounds; those that have one give it
    as the size. They, the root and the floor have as many numbers as there are different ones, broadcast to the shape
    of the value.

    Attributes:
        value: float64, any shape.
        size: S, the sum of absolute terms, or the bound itself.
        growth: by how much of it rounding may change it.
        flushed: what underflows may add.
        scale: S. Effective bits are counted against max(root |value|, scale, floor).
        root: sqrt(n) by element; 0 where the scale alone counts.
        floor: k eta / u: what underflows may cost is no loss of bits, it counts as one rounding.
        signed: where an expected zero has a sign that every honest computation gives it; nowhere if None.
        format: what it is stored in, where that is not the question's format: `int64` for places.
    """

    value: Float64
    size: NDArray[Any]
    scale: NDArray[Any]
    growth: Float64 = field(default_factory=lambda: ONE)
    flushed: Float64 = field(default_factory=lambda: ZERO)
    root: Float64 = field(default_factory=lambda: ZERO)
    floor: Float64 = field(default_factory=lambda: ZERO)
    signed: NDArray[np.bool_] | None = None
    format: str = ""

    @property
    def bound(self) -> Float64:
        """The largest honest error before the last rounding, by element."""
        bound = np.asarray(self.size, np.float64)
        with np.errstate(all="ignore"):
            if self.growth is not ONE:
                bound = self.growth * bound
            if self.flushed is not ZERO:
                bound = bound + self.flushed
        return bound if bound.shape == self.value.shape else np.broadcast_to(bound, self.value.shape)

    def at(self, index: tuple[Any, ...]) -> "Expectation":
        """What some elements must be, by their places along each axis."""
        return Expectation(
            value=_part(self.value, index),
            size=_part(self.size, index),
            growth=_part(self.growth, index),
            flushed=_part(self.flushed, index),
            scale=_part(self.scale, index),
            root=_part(self.root, index),
            floor=_part(self.floor, index),
        )

    def within(self, bound: Float64) -> "Expectation":
        """The same value with other bounds."""
        return replace(self, size=bound, growth=ONE, flushed=ZERO)

    def stored_in(self, format_name: str) -> Format:
        """The format that it is stored in, given the question's."""
        return STORED[self.format or format_name]


def _part(array: NDArray[Any], index: tuple[Any, ...]) -> NDArray[Any]:
    """What an array has at places of the shape that it is broadcast to."""
    own = index[len(index) - array.ndim :]
    return np.asarray(array[tuple(0 if extent == 1 else at for at, extent in zip(own, array.shape, strict=True))])


def exactly(value: Any) -> Expectation:
    """Values that nothing rounds: the bound is 0."""
    value = np.asarray(value, np.float64)
    return Expectation(value=value, size=ZERO, scale=np.broadcast_to(ZERO, value.shape))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """What an array must be a sample of: independent numbers of one law, symmetric about its mean.

    Attributes:
        shape: the array's.
        end: no absolute value lies beyond it; infinite for the normal law.
        mean, square, fourth: E x, E x^2 and E x^4.
        normal: the law is the normal one, of which more is known.
        below: the distribution function.
        draw: a sample, as float64.
        about: where the law comes from, for people.
        shared: along these axes one draw serves all places.
        repeated: a second sample is the first one again.
    """

    shape: Shape
    end: float
    square: float
    fourth: float
    normal: bool
    below: Callable[[Float64], Float64]
    draw: Callable[[np.random.Generator], Float64]
    about: str
    mean: float = 0.0
    shared: tuple[int, ...] = ()
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thinned:
    """An array of which every element is kept with a probability, independently, or is 0.

    Attributes:
        kept: what the elements are if they are kept.
        keep: the probability.
        draw: a sample, as float64.
        shared: along these axes one draw serves all places.
        repeated: a second sample is the first one again.
    """

    kept: Expectation
    keep: float
    draw: Callable[[np.random.Generator], Float64]
    shared: tuple[int, ...] = ()
    repeated: bool = False

    @property
    def shape(self) -> Shape:
        """The array's shape."""
        return self.kept.value.shape


Sample = Drawn | Thinned


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One array against its expectation.

    Attributes:
        name: `output`, a gradient's operand, or a layer's tensor.
        check: `outputs`, `gradients`, `jvp` or `second`.
        data: the data set.
        expected_shape, got_shape, expected_format, got_format: as they are.
        within: every element lies in its interval.
        reason: the way it agrees, or the first thing that is wrong.
        worst_index: where error / bound is largest.
        expected, got, bound: at the worst element.
        error: |got - expected| there.
        ratio: error over bound, or over the room up to the rounded end of the interval where the bound alone does not
            hold it; at most 1 exactly when within.
        outside: how many elements lie outside.
        bits: effective bits of the whole array; infinite where nothing differs.
        detail: of a sample, in words: what about it cannot be by chance.
    """

    name: str
    check: str
    data: str
    within: bool
    reason: Reason
    expected_shape: Shape
    got_shape: Shape
    expected_format: str
    got_format: str
    worst_index: Shape = ()
    expected: float = 0.0
    got: float = 0.0
    error: float = 0.0
    bound: float = 0.0
    ratio: float = 0.0
    outside: int = 0
    bits: float = float("inf")
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of one check of one result."""

    outcome: Outcome
    reason: Reason
    detail: str = ""
