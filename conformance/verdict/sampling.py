"""Whether an array can be a sample of a law: tests that follow from proved inequalities, at one stated rate.

An honest sample is objected to with a probability of at most `FALSE_ALARM`, whatever its size: the tests of one
array share it (Boole's inequality). Nothing is tuned; what a test can see follows from the sample's size.

- *Distribution function*: sup |F_n - F| exceeds e with probability at most 2 exp(-2 n e^2) (Dvoretzky, Kiefer and
  Wolfowitz; the constant 2 is Massart's, 1990).
- *Moments*: of a normal law, the mean is normal and the sum of squares chi-squared, exactly. Of a law that ends, the
  mean of n terms of variance s^2, within M of their mean, is off by e with probability at most
  2 exp(-n e^2 / (2 s^2 + 2 M e / 3)) (Bernstein).
- *Counts* (what is kept, neighbours of the same sign or both kept, elements that agree in two samples) are binomial,
  exactly, because pairs are disjoint; the tails are incomplete beta functions.
- *Ends* and kept elements are no matter of chance: they hold within the rounding of honest arithmetic.

What is seen for certain, that is missed as rarely as `FALSE_ALARM` says, lies twice as far away as what is objected
to. Of the kernel of 27,648 numbers that most cases have, those are variances wrong by 8 % (uniform), 11 % (normal)
and 10 % (truncated): a factor of 2, a wrong fan, and the 23 % that a truncated normal lacks are far beyond. Of 15,360
elements dropped at a rate of 0.3, the share that is kept is certain within 0.05, that of agreeing neighbours within
0.08, where a mask that is shared is off by 0.42.

Generators draw numbers of as many bits as the format has, or one less, so that probabilities are off by a few
roundings: `GRAIN` of them are allowed for everywhere, far below what chance is.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from scipy import special

from conformance.case.job import Tensor
from conformance.formats import FORMATS, Float64, Format, from_storage
from conformance.verdict.compare import interval
from conformance.verdict.model import Comparison, Drawn, Reason, Sample, Thinned

# The probability that an honest output of a job is objected to.
FALSE_ALARM: Final = 1e-9
# In units of u: a draw of p - 1 bits is wrong by 2, a normal number that goes through an inverse (CF 16) changes its
# distribution function by at most 16 max(x phi(x)) = 4, the law's own scale by 4 roundings at most as much again.
GRAIN: Final = 16
# Roundings of a number at the end of its interval: four of the limit, a product and a sum of twice it, an inverse.
END: Final = 32


@dataclass(frozen=True, slots=True)
class _Finding:
    """One test: how far it went of what is allowed, and what it says in words."""

    ratio: float
    words: str
    expected: float = 0.0
    got: float = 0.0


def compare_samples(
    check: str, data: str, got: Mapping[str, Tensor], samples: Mapping[str, Sample], format_name: str
) -> list[Comparison]:
    """One comparison for every output that came back; two of them must also differ as independent ones do."""
    found = []
    pairs = list(combinations([name for name in samples if name in got], 2))
    for name, sample in samples.items():
        if name not in got:
            continue
        others = [one for one, other in pairs if other == name]
        found.append(_compare(name, check, data, got[name], sample, {o: got[o] for o in others}, format_name))
    return found


def _compare(
    name: str, check: str, data: str, got: Tensor, sample: Sample, others: Mapping[str, Tensor], format_name: str
) -> Comparison:
    def comparison(reason: Reason, finding: _Finding) -> Comparison:
        within = reason is Reason.WITHIN_BOUND
        return Comparison(
            name=name,
            check=check,
            data=data,
            within=within,
            reason=reason,
            expected_shape=sample.shape,
            got_shape=got.shape,
            expected_format=format_name,
            got_format=got.format,
            expected=finding.expected,
            got=finding.got,
            error=abs(finding.got - finding.expected),
            ratio=finding.ratio,
            detail="" if within else finding.words,
        )

    if got.shape != sample.shape:
        return comparison(Reason.SHAPE, _Finding(math.inf, ""))
    if got.format != format_name:
        return comparison(Reason.FORMAT, _Finding(math.inf, ""))
    format_ = FORMATS[format_name]
    numbers = from_storage(got.data, format_)
    if not np.isfinite(numbers).all():
        return comparison(Reason.NAN, _Finding(math.inf, "a number is not finite"))
    given = {
        other: from_storage(tensor.data, format_) for other, tensor in others.items() if tensor.shape == got.shape
    }
    if isinstance(sample, Drawn):
        findings = list(_drawn(numbers, sample, given, format_))
    else:
        findings = list(_thinned(numbers, sample, given, format_))
    worst = max(findings, key=lambda finding: finding.ratio, default=_Finding(0.0, ""))
    # The first objection, not the largest: tests go from the plainest to the subtlest.
    first = next((finding for finding in findings if finding.ratio > 1), worst)
    return comparison(Reason.DISTRIBUTION if first.ratio > 1 else Reason.WITHIN_BOUND, first)


def _drawn(numbers: Float64, law: Drawn, others: Mapping[str, Float64], format_: Format) -> Iterator[_Finding]:
    others = dict(others)
    if law.repeated:
        yield from _repetition(numbers, others)
    if law.shared:
        yield _sharing(numbers, law.shared)
        numbers, others = _once(numbers, law.shared), {name: _once(o, law.shared) for name, o in others.items()}
    n = numbers.size
    if not n:
        return
    each = FALSE_ALARM / (3 + numbers.ndim + len(others))
    largest = float(np.abs(numbers).max())
    if math.isfinite(law.end):
        words = f"{largest:.6g} lies beyond the end, {law.end:.6g} ({law.about})"
        yield _Finding(largest / (law.end * (1 + END * format_.unit)), words, law.end, largest)
    deviation, grain = math.sqrt(law.square), GRAIN * format_.unit
    square = float(np.mean(numbers**2))
    words = f"standard deviation {math.sqrt(square):.6g}, expected {deviation:.6g} ({law.about})"
    if law.normal:
        tails = (
            special.gammainc(n / 2, n / 2 * square / law.square * (1 + grain)),
            special.gammaincc(n / 2, n / 2 * square / law.square / (1 + grain)),
        )
        share = _share(float(min(tails)), each / 2)
    else:
        room = _bernstein(n, law.fourth - law.square**2, max(law.square, law.end**2 - law.square), each)
        share = abs(square - law.square) / (room + grain * law.square)
    yield _Finding(share, words, deviation, math.sqrt(square))
    mean = float(np.mean(numbers))
    if law.normal:
        beyond = max(abs(mean - law.mean) - grain * deviation, 0.0) * math.sqrt(n) / deviation
        share = _share(float(special.ndtr(-beyond)), each / 2)
    else:
        room = _bernstein(n, law.square - law.mean**2, law.end, each)
        share = abs(mean - law.mean) / (room + grain * law.end)
    yield _Finding(share, f"mean {mean:.6g}, expected {law.mean:.6g} ({law.about})", law.mean, mean)
    ordered = np.sort(numbers, axis=None)
    f, steps = law.below(ordered), np.arange(n + 1) / n
    away = float(max(np.max(steps[1:] - f), np.max(f - steps[:-1])))
    words = f"the distribution function is off by {away:.3g} ({law.about})"
    yield _Finding(away / (math.sqrt(math.log(2 / each) / (2 * n)) + grain), words, 0.0, away)
    signs = numbers >= law.mean
    marks = {name: other >= law.mean for name, other in others.items()}
    yield from _independence(signs, marks, 0.5, each, grain, "signs")


def _thinned(
    numbers: Float64, thinned: Thinned, others: Mapping[str, Float64], format_: Format
) -> Iterator[_Finding]:
    if not numbers.size:
        return
    each = FALSE_ALARM / (1 + numbers.ndim + len(others))
    value, grain = thinned.kept.value, GRAIN * format_.unit if thinned.keep < 1 else 0.0
    low, high = interval(value, thinned.kept.bound, format_)
    kept = numbers != 0
    wrong = kept & ~((low <= numbers) & (numbers <= high))
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        words = f"{int(wrong.sum())} kept elements are not x / {thinned.keep:.6g}, the first at {list(at)}: "
        words += f"got {float(numbers[at])!r}, expected {float(value[at])!r}"
        yield _Finding(math.inf, words, float(value[at]), float(numbers[at]))
    # Where x is 0, or too small to be kept, nothing shows.
    shows = ~((low <= 0) & (high >= 0))
    masks = {name: other != 0 for name, other in others.items()}
    if thinned.repeated:
        yield from _repetition(kept, masks)
    if thinned.shared and shows.all():
        yield _sharing(kept, thinned.shared)
        kept, shows = _once(kept, thinned.shared), _once(shows, thinned.shared)
        masks = {name: _once(mask, thinned.shared) for name, mask in masks.items()}
    m = int(shows.sum())
    count = int((kept & shows).sum())
    words = f"{count} of {m} elements are kept, expected about {thinned.keep * m:.6g}"
    yield _Finding(_counted(count, m, thinned.keep, each, grain), words, thinned.keep * m, count)
    if shows.all():
        alike = thinned.keep**2 + (1 - thinned.keep) ** 2
        yield from _independence(kept, masks, alike, each, 2 * grain, "masks")


def _repetition(array: Any, others: dict[str, Any]) -> Iterator[_Finding]:
    """A second sample that must be the first one; what is equal is no longer asked to be independent."""
    for name in list(others):
        same = np.array_equal(array, others.pop(name))
        yield _Finding(0.0 if same else math.inf, f"it is not {name} again")


def _sharing(array: Any, axes: tuple[int, ...]) -> _Finding:
    return _Finding(0.0 if bool((array == _once(array, axes)).all()) else math.inf, f"axes {axes} share no draw")


def _once(array: Any, axes: tuple[int, ...]) -> Any:
    """The first place of axes that share a draw."""
    return array[tuple(slice(1) if axis in axes else slice(None) for axis in range(array.ndim))]


def _independence(
    marks: Any, others: Mapping[str, Any], alike: float, each: float, grain: float, what: str
) -> Iterator[_Finding]:
    """Disjoint pairs of neighbours along every axis, and the same places of two samples."""
    for axis in range(marks.ndim):
        half = marks.shape[axis] // 2
        first, second = (np.take(marks, np.arange(start, 2 * half, 2), axis=axis) for start in (0, 1))
        yield _agreement(first, second, alike, each, grain, f"{what} of neighbours along axis {axis} agree")
    for name, other in others.items():
        yield _agreement(marks, other, alike, each, grain, f"{what} agree with those of {name}")


def _agreement(one: Any, other: Any, alike: float, each: float, grain: float, words: str) -> _Finding:
    count, m = int((one == other).sum()), one.size
    ratio = _counted(count, m, alike, each, grain)
    return _Finding(ratio, f"{words} in {count} of {m} pairs, expected about {alike * m:.6g}", alike * m, count)


def _counted(count: int, m: int, probability: float, each: float, grain: float) -> float:
    """A binomial count against both of its tails, exactly."""
    if not m:
        return 0.0
    high, low = min(probability + grain, 1.0), max(probability - grain, 0.0)
    above = 1.0 if count == 0 else float(special.betainc(count, m - count + 1, high))
    below = 1.0 if count == m else float(special.betainc(m - count, count + 1, 1 - low))
    return _share(min(above, below), each / 2)


def _share(tail: float, allowed: float) -> float:
    """How far a tail is on the way to what is allowed: the ratio of logarithms, above 1 where it is smaller."""
    return math.log(tail) / math.log(allowed) if tail > 0 else math.inf


def _bernstein(n: int, variance: float, largest: float, probability: float) -> float:
    """The e at which 2 exp(-n e^2 / (2 s^2 + 2 M e / 3)) is a probability: the larger root of a quadratic."""
    level = math.log(2 / probability) / n
    return level * largest / 3 + math.sqrt((level * largest / 3) ** 2 + 2 * level * variance)
