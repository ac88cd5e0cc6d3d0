"""What other test suites compare with, to be measured beside this project's rule.

Nothing is judged with these: `conformance selfcheck` asks each of them about the same faults and the same honest
answers, and tells what it would have said. All of them are fixed tolerances, |got - expected| <= atol + rtol
|expected| by element, with NaN where NaN is expected; an array of another shape or format counts as noticed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from conformance.case.job import Tensor
from conformance.formats import from_storage
from conformance.verdict.compare import compare, outside
from conformance.verdict.model import Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """Somebody's way to say that an array is wrong.

    Attributes:
        name: as tables show it.
        origin: whose it is.
        outside: which elements of an array it calls wrong; None where shape or format are.
    """

    name: str
    origin: str
    outside: Callable[[Tensor, Expectation, str], np.ndarray | None]

    def notices(self, got: Tensor, expectation: Expectation, format_name: str) -> bool:
        """Whether it calls anything wrong."""
        wrong = self.outside(got, expectation, format_name)
        return wrong is None or bool(wrong.any())


def _rule(got: Tensor, expectation: Expectation, format_name: str) -> np.ndarray | None:
    if compare("", "outputs", "", got, expectation, format_name).within:
        return np.zeros(expectation.value.shape, np.bool_)
    return outside(got, expectation, format_name)


def tolerance(name: str, origin: str, tolerances: Mapping[str, tuple[float, float]]) -> Detector:
    """A detector with a pair (rtol, atol) for every format."""

    def beyond(got: Tensor, expectation: Expectation, format_name: str) -> np.ndarray | None:
        format_ = expectation.stored_in(format_name)
        if got.shape != expectation.value.shape or got.format != format_.name:
            return None
        rtol, atol = tolerances[format_name]
        numbers = from_storage(got.data, format_)
        value = expectation.value
        with np.errstate(all="ignore"):
            near = (np.abs(numbers - value) <= atol + rtol * np.abs(value)) & np.isfinite(value)
        if near.all():
            return np.zeros(value.shape, np.bool_)
        # Equal infinities are near, an infinity is near nothing else, and NaN is where NaN is expected.
        near |= (numbers == value) | (np.isnan(numbers) & np.isnan(value))
        return np.asarray(~near)

    return Detector(name=name, origin=origin, outside=beyond)


def _both(rtol: float, atol: float) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(("float32", "float64"), (rtol, atol))


RULE: Final = Detector(name="this rule", origin="the proved bound of every element", outside=_rule)
DETECTORS: Final = (
    RULE,
    tolerance("numpy.allclose", "its defaults, rtol 1e-5 and atol 1e-8", _both(1e-5, 1e-8)),
    tolerance(
        "torch.testing.assert_close",
        "its defaults, rtol 1.3e-6 and atol 1e-5 in float32, 1e-7 and 1e-7 in float64",
        {"float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7)},
    ),
    tolerance("rtol 1e-3, atol 1e-7", "the defaults of ONNX's backend tests", _both(1e-3, 1e-7)),
    tolerance("rtol 1e-6, atol 1e-6", "what a careful person types", _both(1e-6, 1e-6)),
)
