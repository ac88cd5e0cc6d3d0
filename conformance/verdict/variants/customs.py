"""Readings that are customs, not faults: which derivative holds at a kink or far from it, an older slope.

Systems legitimately differ in them, so no case has to notice them and the mutation score does not count them; probes
name them. At a kink the derivative from below, the one from above and their mean are the answers in use.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from conformance.case.job import Job
from conformance.verdict.model import exactly
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import Reading, Variant, bounded, numbers, replaced

# The slope at 0 from below, scale times alpha, and from above (Klambauer et al., Self-Normalizing Neural Networks,
# equation 14).
_SELU_SCALE: Final = 1.0507009873554805
_SELU_BELOW: Final = _SELU_SCALE * 1.6732632423543772
# A slope of three operations (hard swish: a product, a quotient, a sum) and a rounded constant, times a cotangent.
_ROUNDINGS: Final = 5

# Far below 0: exp(x) is less than half a rounding of 1 in every format, so that y is -a, and y + a is 0.
_TAIL: Final = -64.0
# An exponential's four, a scale and an alpha, both rounded, and the cotangent.
_TAIL_ROUNDINGS: Final = 9

# A kink: where it is, and the derivatives below and above it.
Kink = tuple[float, Any, Any]


def _at_zero(below: Any, above: Any) -> tuple[Kink, ...]:
    return ((0.0, below, above),)


_KINKS: Final[Mapping[str, Callable[[Job], tuple[Kink, ...]]]] = MappingProxyType(
    {
        "relu": lambda job: _at_zero(0.0, 1.0),
        "relu6": lambda job: (*_at_zero(0.0, 1.0), (6.0, 1.0, 0.0)),
        "leaky_relu": lambda job: _at_zero(job.attributes.slope, 1.0),
        "prelu": lambda job: _at_zero(numbers(job.operands["a"]), 1.0),
        "elu": lambda job: _at_zero(job.attributes.alpha, 1.0),
        "selu": lambda job: _at_zero(_SELU_BELOW, _SELU_SCALE),
        "hard_tanh": lambda job: ((job.attributes.low, 0.0, 1.0), (job.attributes.high, 1.0, 0.0)),
        "hard_sigmoid": lambda job: ((-3.0, 0.0, 1 / 6), (3.0, 1 / 6, 0.0)),
        # (2 x + 3) / 6 between the two.
        "hard_swish": lambda job: ((-3.0, 0.0, -1 / 2), (3.0, 3 / 2, 1.0)),
    }
)


def _at_kinks(job: Job, choose: Callable[[Any, Any], Any]) -> Reading | None:
    """The gradient of x with a chosen derivative where x is at a kink; None where it is at none."""
    x = numbers(job.operands["x"])
    kinks = [(x == at, choose(below, above)) for at, below, above in _KINKS[job.operator](job)]
    if not job.cotangents or not any(here.any() for here, _ in kinks):
        return None
    cotangent = numbers(job.cotangents["output"])

    def change(found: Expectations) -> Expectations:
        if not found.gradients:
            return found
        gradient = found.gradients["x"]
        value, bound, scale = (np.array(array) for array in (gradient.value, gradient.bound, gradient.scale))
        for here, slope in kinks:
            product = cotangent * slope
            own = bounded(job, product, _ROUNDINGS, np.abs(product)) if np.any(product % 1) else exactly(product)
            value, bound, scale = (
                np.where(here, at_kink, elsewhere)
                for at_kink, elsewhere in ((own.value, value), (own.bound, bound), (own.scale, scale))
            )
        return replaced(found, None, {"x": type(gradient)(value=value, size=bound, scale=scale)})

    return Reading(job=job, change=change)


def _mean(below: Any, above: Any) -> Any:
    return (below + above) / 2


def _in_the_tail(job: Job, exponential: bool) -> Reading | None:
    """The gradient of x with the slope a exp(x) where x is far below 0, or with y + a, which has become 0 there."""
    x = numbers(job.operands["x"])
    far = x < _TAIL
    if not job.cotangents or not far.any():
        return None
    below = _SELU_BELOW if job.operator == "selu" else job.attributes.alpha
    with np.errstate(over="ignore"):
        product = numbers(job.cotangents["output"]) * (below * np.exp(x) if exponential else 0.0)
    own = bounded(job, product, _TAIL_ROUNDINGS, np.abs(product)) if exponential else exactly(product)

    def change(found: Expectations) -> Expectations:
        if not found.gradients:
            return found
        gradient = found.gradients["x"]
        return replaced(
            found,
            None,
            {
                "x": type(gradient)(
                    value=np.where(far, own.value, gradient.value),
                    size=np.where(far, own.bound, gradient.bound),
                    scale=np.where(far, own.scale, gradient.scale),
                )
            },
        )

    return Reading(job=job, change=change)


def _fifth(job: Job) -> Reading:
    """clip(x / 5 + 1 / 2, 0, 1)."""
    x = numbers(job.operands["x"])

    def change(found: Expectations) -> Expectations:
        slope = np.where(np.abs(x) < 2.5, 0.2, 0.0)
        with np.errstate(invalid="ignore"):
            value = np.clip(0.2 * x + 0.5, 0.0, 1.0)
        # A rounded constant, a product and a sum, whose terms may cancel.
        outputs = {"output": bounded(job, value, 3, np.where(slope > 0, 0.2 * np.abs(x) + 0.5, value))}
        if not found.gradients:
            return replaced(found, outputs)
        product = numbers(job.cotangents["output"]) * slope
        return replaced(found, outputs, {"x": bounded(job, product, 2, np.abs(product))})

    return Reading(job=job, change=change)


CUSTOMS: Final = (
    *(
        Variant(
            name=name,
            operators=tuple(_KINKS),
            about=about,
            seen_by="an input at the kink, where gradients are asked",
            read=partial(_at_kinks, choose=choose),
            touches="gradients",
        )
        for name, about, choose in (
            (
                "derivative from below at kinks",
                "A strict comparison leaves the kink to the lower piece.",
                lambda below, above: below,
            ),
            (
                "derivative from above at kinks",
                "A comparison that allows equality leaves the kink to the upper piece.",
                lambda below, above: above,
            ),
            (
                "mean of both derivatives at kinks",
                "A maximum or minimum of equal numbers shares its cotangent, as JAX's does.",
                _mean,
            ),
        )
    ),
    *(
        Variant(
            name=name,
            operators=("elu", "selu"),
            about=about,
            seen_by="an input far below 0, where gradients are asked",
            read=partial(_in_the_tail, exponential=exponential),
            touches="gradients",
        )
        for name, about, exponential in (
            ("slope of an exponential in the tail", "The slope is computed from x, and stays positive.", True),
            ("slope of 0 in the tail", "The slope is computed from the output, which has become -alpha.", False),
        )
    ),
    Variant(
        name="slope of one fifth",
        operators=("hard_sigmoid",),
        about="Keras 2 and Theano have clip(0.2 x + 0.5, 0, 1).",
        seen_by="normal numbers",
        read=_fifth,
    ),
)
