"""Wrong gradients, and none."""

from typing import Any

import numpy as np

from conformance.backends.base import Gradients, Natives
from conformance.tests.fakes.arithmetic import Array
from conformance.tests.fakes.honest import Honest, PullBack


class DrawsGradientBits(Honest):
    """The last bits of the weights' gradients are drawn anew."""

    def weight_gradient(self, gradient: np.ndarray) -> np.ndarray:
        up = np.random.default_rng().random(gradient.shape) < 0.5
        return np.where(up, np.nextafter(gradient, np.inf, dtype=gradient.dtype), gradient)


class WeightGradientTransposed(Honest):
    """Gives the gradient of a kernel with rows and columns exchanged."""

    def weight_gradient(self, gradient: np.ndarray) -> np.ndarray:
        return np.swapaxes(gradient, 0, 1)


class GradientOfOnes(Honest):
    """Pulls back ones, whatever the cotangent."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return pull(np.ones_like(cotangent.numbers))


class ZeroGradient(Honest):
    """Its gradients are zero."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return {name: 0 * gradient for name, gradient in pull(cotangent.numbers).items()}


class MissingGradient(Honest):
    """Gives no gradient of the kernel, and no reason."""

    def evaluate(self, *asked: Any) -> tuple[Natives, Gradients]:
        outputs, gradients = super().evaluate(*asked)
        return outputs, {name: gradient for name, gradient in gradients.items() if name.rpartition("/")[2] != "w"}


class RaisesInGradient(Honest):
    """Its backward pass raises."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        raise RuntimeError("no backward kernel")
