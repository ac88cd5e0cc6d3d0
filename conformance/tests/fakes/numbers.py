"""Wrong numbers, shapes and formats: what a comparison of outputs must notice."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from conformance.backends.base import Native
from conformance.case.contract import NoAttributes
from conformance.case.families.pooling import AveragePool
from conformance.case.job import is_native
from conformance.tests.fakes.arithmetic import Array, from_bfloat16, to_bfloat16
from conformance.tests.fakes.honest import ChangesOutput, Honest, PullBack


class FlipsKernel(Honest):
    """Convolves where the field correlates."""

    def kernel(self, w: np.ndarray) -> np.ndarray:
        return w[::-1, ::-1]


class WeighsTooMuch(Honest):
    """Its kernels are larger than they were given, by a thousandth, forwards and backwards."""

    def kernel(self, w: np.ndarray) -> np.ndarray:
        return w * w.dtype.type(1.001)


class PadsLeftFirst(Honest):
    """Puts SAME's odd pixel at the start."""

    def pads(self, padding: Any, sizes: Any, extents: Any, stride: Any) -> tuple[tuple[int, int], ...]:
        return super().pads("same_lower" if padding == "same" else padding, sizes, extents, stride)


class PadsAsIfUnstrided(Honest):
    """Pads SAME by what stride 1 would need."""

    def pads(self, padding: Any, sizes: Any, extents: Any, stride: Any) -> tuple[tuple[int, int], ...]:
        return super().pads(padding, sizes, extents, (1, 1))


class CountsPadding(Honest):
    """Counts padding in its means where nobody says, and has no SAME for them."""

    by_default: ClassVar[bool] = True

    def average_pool2d(self, attributes: AveragePool, x: Native) -> Native:
        if attributes.padding == "same":
            self.compose("this fake's means have no SAME")
        counted = self.by_default if is_native(attributes.count_padding) else attributes.count_padding
        return super().average_pool2d(replace(attributes, count_padding=counted), x)


class CountsNoPadding(CountsPadding):
    """The same with another default."""

    by_default: ClassVar[bool] = False


class DropsBias(Honest):
    """Forgets the bias."""

    def biased(self, y: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        return y


class SwallowsNan(Honest):
    """Its maximum passes over NaN."""

    def largest(self, stack: np.ndarray) -> np.ndarray:
        return np.argmax(np.where(np.isnan(stack), -np.inf, stack), axis=0)


class LastTieWins(Honest):
    """Gives the gradient of a maximum to the last of equals."""

    def largest(self, stack: np.ndarray) -> np.ndarray:
        return len(stack) - 1 - np.argmax(stack[::-1], axis=0)


class OneElementOff(ChangesOutput):
    """Its largest element is off by one part in a million."""

    def changed(self, output: Array) -> Array:
        numbers = output.numbers.copy()
        place = np.unravel_index(np.argmax(np.abs(numbers)), numbers.shape)
        numbers[place] *= 1 + 1e-6
        return Array(output.format, numbers)


class MissesOneProduct(Honest):
    """Leaves one tap of the first channel out, in one window of the last image."""

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        def conv2d(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, PullBack]:
            y, pull = forward(x=x, w=w)
            y[-1, 2, 3, 1] -= x[-1, 3, 5, 0] * w[1, 2, 0, 1]
            return y, pull

        return super().given(inputs, conv2d)


class NanForNumber(ChangesOutput):
    """One element is not a number."""

    def changed(self, output: Array) -> Array:
        numbers = output.numbers.copy()
        numbers[(0,) * numbers.ndim] = np.nan
        return Array(output.format, numbers)


class InfinityForNumber(ChangesOutput):
    """One element is infinite."""

    def changed(self, output: Array) -> Array:
        numbers = output.numbers.copy()
        numbers[(0,) * numbers.ndim] = np.inf
        return Array(output.format, numbers)


class DrawsLowBits(ChangesOutput):
    """Every element's last bit is drawn anew."""

    def changed(self, output: Array) -> Array:
        up = np.random.default_rng().random(output.shape) < 0.5
        return Array(
            output.format,
            np.where(up, np.nextafter(output.numbers, np.inf, dtype=output.numbers.dtype), output.numbers),
        )


class ZeroOfEitherSign(Honest):
    """The sign of its zeros alternates."""

    turn: ClassVar[float] = 1.0

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        type(self).turn *= -1
        y = super().relu(attributes, x)
        y.numbers[y.numbers == 0] = np.copysign(0.0, self.turn)
        return y


class WrongShape(ChangesOutput):
    """Keeps its last column for itself."""

    def changed(self, output: Array) -> Array:
        return Array(output.format, output.numbers[:, :, :-1])


class ReturnsFloat64(ChangesOutput):
    """Always answers in double precision."""

    def changed(self, output: Array) -> Array:
        return Array("float64", output.numbers)


class Truncates(Honest):
    """Cuts its float32 sums off where it should round them to bfloat16."""

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        result = super().given(inputs, forward)
        if result.format == "bfloat16":
            summed, _ = forward(**{name: value.numbers for name, value in inputs.items() if value is not None})
            result.numbers = (summed.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        return result


class RoundsOperands(Honest):
    """Rounds what it is given to bfloat16 before it computes, as a fast matrix unit would."""

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        return from_bfloat16(to_bfloat16(numbers)).astype(numbers.dtype)

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        def on_rounded(**operands: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return forward(**{name: self.rounded(numbers) for name, numbers in operands.items()})

        return super().given(inputs, on_rounded)

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return pull(self.rounded(cotangent.numbers))


class RoundsOperandsToTf32(RoundsOperands):
    """Rounds what it is given to 11 significant bits, as tensor cores do."""

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        mantissa, exponent = np.frexp(numbers)
        return np.ldexp(np.rint(mantissa * 2048) / 2048, exponent).astype(numbers.dtype)
