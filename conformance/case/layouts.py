"""Layouts: how a framework is given the images of a question.

A job's arrays are always channels-last. `native` gives them to a framework as its own users hold data; the other
layouts name the order of axes, or memory, that every framework that has it is given instead. Numbers do not change.
"""

from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from conformance.case.job import Tensor
from conformance.case.model import Case, Layout
from conformance.case.operators import OPERATORS

LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)


@dataclass(frozen=True, slots=True)
class Axes:
    """Where the channels of a question's images lie for the framework; with no images everything stays."""

    images: tuple[str, ...] = ()

    def given(self, name: str, tensor: Tensor) -> Tensor:
        """An array of the question as the framework gets it: (batch, channels, *spatial) if it is an image."""
        return Tensor(tensor.format, self.numbers_given(name, tensor.data))

    def numbers_given(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """The same for an array without a format."""
        return self._moved(name, array, -1, 1)

    def taken(self, name: str, tensor: Tensor) -> Tensor:
        """An array of the framework as the question has it: axes are moved, and nothing else happens."""
        return Tensor(tensor.format, self._moved(name, tensor.data, 1, -1))

    def _moved(self, name: str, array: NDArray[Any], source: int, target: int) -> NDArray[Any]:
        if name not in self.images or array.ndim < 3:
            return array
        return np.ascontiguousarray(np.moveaxis(array, source, target))


def marked(layout: str) -> tuple[str, ...]:
    """What a name says of a layout: nothing of `native`."""
    return () if layout == "native" else (layout,)


def axes_of(operator: str, layout: Layout) -> Axes:
    """The axes of an operator's arrays; only `channels_first` has another order than the question."""
    return Axes(OPERATORS[operator].images if layout == "channels_first" else ())


def may_vary(case: Case) -> bool:
    """Whether another layout asks a case anything: not of defaults, of what has no answer, or of what is drawn."""
    return not case.readings and case.expect.error == "no" and not OPERATORS[case.operator].random
