"""The reference, held to the definitions: values, numbers of roundings, sums and intervals of one job.

Four things are asked of every array that the reference gives for an operator of `rational.DEFINITIONS`:

- its value is within the share of the bound that is its own rounding, gamma_n(2^-53) S + k eta, of the exact value;
- S is the sum of the absolute values of the terms, and n at least the longest chain of roundings;
- the interval that the oracle makes for a format has the exact value in it;
- and so it has every result of that format's arithmetic, however the terms are added.

This is the one module beside `oracle` that knows the reference: it needs n and S as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from conformance.case.job import Job, Tensor
from conformance.formats import FORMATS, Format, to_storage
from conformance.reference.magnitude import Magnitude
from conformance.reference.operators import OPERATORS as REFERENCE
from conformance.verdict import oracle, rational
from conformance.verdict.compare import compare
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Accumulators, MustRefuse
from conformance.verdict.rational import ZERO, Index, Sums
from conformance.verdict.summation import adversarial, chains

DOUBLE: Final = FORMATS["float64"]
# Elements of an array that are added in every order; emulated arithmetic takes milliseconds an element.
EMULATED: Final = 8
# A sum of n positive float64 numbers is off by gamma_n(2^-53) of itself at most, and so is each product in it: the
# sums here have fewer than 2^20 terms.
SUM_ERROR: Final = Fraction(1, 2**32)
# Operators whose bound weighs every term by its own number of roundings: their S is a mean of such weights.
WEIGHED: Final = frozenset(
    {"hard_sigmoid", "hard_swish", "leaky_relu", "prelu", "resize1d", "resize2d", "resize3d", "sgd"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """What became of the arrays of some jobs.

    Attributes:
        arrays, elements: that were held to their definitions.
        sums: results of emulated arithmetic that were looked for in their intervals.
        share: the largest error of the reference over what its own rounding may cost; at most 1.
        faults: what does not hold, in words.
    """

    arrays: int = 0
    elements: int = 0
    sums: int = 0
    share: float = 0.0
    faults: tuple[str, ...] = ()

    def __add__(self, other: "Exactness") -> "Exactness":
        return Exactness(
            arrays=self.arrays + other.arrays,
            elements=self.elements + other.elements,
            sums=self.sums + other.sums,
            share=max(self.share, other.share),
            faults=self.faults + other.faults,
        )


def examine(job: Job) -> Exactness:
    """Holds the reference's answer to a job of finite numbers to the operator's definition.

    Raises:
        KeyError: if the operator has no definition in rational arithmetic.
    """
    operands, cotangents = oracle.in_float64(job)
    given = {**operands, **oracle.attribute_values(job.attributes)}
    magnitudes = REFERENCE[job.operator].magnitude(cotangents or None, **given)
    expected = oracle.expect(job, Accumulators())
    if isinstance(expected, MustRefuse):
        return Exactness(faults=(f"{job.case_id}: the reference refuses: {expected.why}",))
    total = Exactness()
    for what, sums, wanted, sizes in (
        ("output", rational.outputs(job), expected.outputs, magnitudes.outputs),
        ("gradient", rational.gradients(job) if cotangents else {}, expected.gradients, magnitudes.gradients),
    ):
        for name, expectation in wanted.items():
            where = f"{job.case_id} ({job.format}, {job.data}): {what} {name}"
            total += _array(where, job, sums[name], expectation, sizes[name])
    return total


def _array(where: str, job: Job, sums: Sums, expectation: Expectation, magnitude: Magnitude) -> Exactness:
    if expectation.value.shape != sums.shape:
        return Exactness(faults=(f"{where} has shape {expectation.value.shape}, by definition {sums.shape}",))
    format_ = FORMATS[job.format]
    terms, absolute, underflow = (
        np.broadcast_to(part, sums.shape) for part in (magnitude.terms, magnitude.absolute, magnitude.underflow)
    )
    faults: list[str] = []
    share = 0.0
    for at, own in sums.terms.items():
        exact = sum((term.value for term in own), ZERO)
        value = Fraction(float(expectation.value[at]))
        n, size = Fraction(float(terms[at])), Fraction(float(absolute[at]))
        room = _gamma(n, DOUBLE) * size + Fraction(float(underflow[at])) * Fraction(DOUBLE.eta)
        error = abs(value - exact)
        if error > room:
            faults.append(f"{where} at {at} is {float(value)!r}, exactly {float(exact)!r}, off by {float(error):.3g}")
        elif room:
            share = max(share, float(error / room))
        faults += (f"{where} at {at}: {what}" for what in _sizes(job, own, n, size, exact, format_))
        bound = Fraction(float(expectation.bound[at]))
        # What has no bound is asked to be the exact value, correctly rounded: the reference's own must be exact.
        if error > bound:
            faults.append(f"{where} at {at}: the interval lacks the exact value, by {float(error - bound):.3g}")
    made, outside = _emulated(where, job, sums, expectation)
    return Exactness(arrays=1, elements=len(sums.terms), sums=made, share=share, faults=(*faults[:3], *outside[:3]))


def _sizes(
    job: Job, own: tuple[rational.Term, ...], n: Fraction, size: Fraction, exact: Fraction, format_: Format
) -> list[str]:
    """What is wrong with the number of roundings and the sum of the absolute values of one element."""
    total, longest, weighted = chains(own, format_)
    if not n:  # nothing is rounded, by the reference's word
        return [] if longest == 0 or _is_free(own, format_) else [f"no rounding is counted, there are {longest}"]
    wrong = []
    if n * size < weighted * (1 - SUM_ERROR):
        wrong.append(f"n S is {float(n * size):.6g}, the terms' roundings make it {float(weighted):.6g}")
    if job.operator not in WEIGHED:
        if abs(size - total) > SUM_ERROR * total:
            wrong.append(f"S is {float(size)!r}, by definition {float(total)!r}")
        if n < longest:
            wrong.append(f"n is {float(n):g}, there are chains of {longest}")
    return wrong


def _is_free(own: tuple[rational.Term, ...], format_: Format) -> bool:
    """A single number, an attribute perhaps: stored, it is rounded once, as every result is."""
    return len(own) == 1 and len(own[0].factors) == 1 and own[0].divisor == 1


def _emulated(where: str, job: Job, sums: Sums, expectation: Expectation) -> tuple[int, list[str]]:
    """Every way to add the terms of some elements, each compared as a backend's answer is."""
    format_ = FORMATS[job.format]
    chosen = _spread(list(sums.terms), EMULATED)
    ways: dict[str, dict[Index, Fraction]] = {}
    for at in chosen:
        for way, result in adversarial(sums.terms[at], format_).items():
            ways.setdefault(way, {})[at] = result
    faults = []
    for way, results in ways.items():
        places: Any = tuple(np.array(list(results)).T) if sums.shape else ()
        value, bound, scale = (
            np.atleast_1d(np.broadcast_to(array, expectation.value.shape)[places])
            for array in (expectation.value, expectation.bound, expectation.scale)
        )
        got = np.array([float(result) for result in results.values()])
        given = Tensor(job.format, to_storage(got, format_))
        found = compare(
            way, "outputs", job.data, given, Expectation(value=value, size=bound, scale=scale), job.format
        )
        if not found.within:
            faults.append(f"{where}, added {way}: {found.got!r} lies outside {found.expected!r} +- {found.bound:.3g}")
    return sum(map(len, ways.values())), faults


def _spread(places: list[Index], most: int) -> list[Index]:
    """Some of them, evenly: borders and interior."""
    step = max(len(places) // most, 1)
    return places[::step][:most]


def _gamma(n: Fraction, format_: Format) -> Fraction:
    u = Fraction(format_.unit)
    return n * u / (1 - n * u)


def covered(operators: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of these operators are rational, with some of their attributes at least."""
    return tuple(name for name in operators if name in rational.DEFINITIONS)
