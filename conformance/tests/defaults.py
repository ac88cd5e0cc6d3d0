"""Fake backends with defaults: one that has PyTorch's, and one for every default that another framework has."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from conformance.backends.base import Native, Natives
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.normalization import BatchNorm, BatchNormTraining, LocalResponseNorm
from conformance.case.families.resizing import Resize
from conformance.case.families.sampling import Initialize
from conformance.case.families.steps import Adagrad, Momentum, RmsProp
from conformance.case.job import is_native
from conformance.tests.drawing import DrawsHonestly
from conformance.tests.fakes import Honest, check, stored


def chosen(value: Any, default: Any) -> Any:
    """What is asked, or the framework's own where nothing is."""
    return default if is_native(value) else value


class HasDefaults(Honest):
    """Every default is PyTorch's; outputs alone, from float64."""

    epsilon: ClassVar[float] = 1e-5
    epsilon_outside: ClassVar[bool] = False
    share: ClassVar[float] = 0.1
    share_stays: ClassVar[bool] = False
    bessel: ClassVar[bool] = True
    alpha: ClassVar[float] = 1e-4
    alpha_of_mean: ClassVar[bool] = True
    more_before: ClassVar[bool] = True
    half_pixels: ClassVar[bool] = False
    velocity_of_steps: ClassVar[bool] = False
    epsilon_under_root: ClassVar[bool] = False
    initial: ClassVar[float] = 0.0
    ignores: ClassVar[bool] = True

    def batch_norm(self, attributes: BatchNorm, x: Native, mean: Native, variance: Native) -> Native:
        return stored(self.standardized(x, mean.numbers, variance.numbers, attributes.epsilon), x.format)

    def standardized(self, x: Native, mean: np.ndarray, variance: np.ndarray, epsilon: Any) -> np.ndarray:
        epsilon, numbers = chosen(epsilon, self.epsilon), x.numbers.astype(np.float64)
        variance = variance.astype(np.float64)
        deviation = np.sqrt(variance) + epsilon if self.epsilon_outside else np.sqrt(variance + epsilon)
        return np.asarray((numbers - mean) / deviation)

    def batch_norm_training(
        self, attributes: BatchNormTraining, x: Native, mean: Native, variance: Native
    ) -> Natives:
        numbers = x.numbers.astype(np.float64)
        axes = tuple(range(numbers.ndim - 1))
        share = chosen(attributes.momentum, self.share)
        stays = share if self.share_stays else 1 - share

        def moved(old: Native, new: np.ndarray) -> Native:
            return stored(stays * old.numbers.astype(np.float64) + (1 - stays) * new, x.format)

        y = self.standardized(x, numbers.mean(axes), numbers.var(axes), attributes.epsilon)
        return {
            "output": stored(y, x.format),
            "mean": moved(mean, numbers.mean(axes)),
            "variance": moved(variance, numbers.var(axes, ddof=int(self.bessel))),
        }

    def local_response_norm(self, attributes: LocalResponseNorm, x: Native) -> Native:
        a, numbers = attributes, x.numbers.astype(np.float64)
        low = a.size // 2 if self.more_before else (a.size - 1) // 2
        squares = np.pad(numbers**2, [*((0, 0) for _ in x.shape[:-1]), (low, a.size - 1 - low)])
        total = sum(squares[..., start : start + x.shape[-1]] for start in range(a.size))
        alpha = chosen(a.alpha, self.alpha) / (a.size if self.alpha_of_mean else 1)
        return stored(numbers / (a.bias + alpha * total) ** a.beta, x.format)

    def resize2d(self, attributes: Resize, x: Native) -> Native:
        numbers = x.numbers
        for axis, size in enumerate(attributes.size, start=1):
            ratio = x.shape[axis] / size
            at = (np.arange(size) + (0.5 if self.half_pixels else 0.0)) * ratio
            numbers = np.take(numbers, np.floor(at).astype(int), axis=axis)
        return stored(numbers, x.format)

    def sgd_momentum(self, attributes: Momentum, parameter: Native, gradient: Native, velocity: Native) -> Natives:
        a = attributes
        p, g, v = (each.numbers.astype(np.float64) for each in (parameter, gradient, velocity))
        if self.velocity_of_steps:
            v = a.momentum * v - a.learning_rate * g
            return {"parameter": stored(p + v, parameter.format), "velocity": stored(v, parameter.format)}
        v = a.momentum * v + g
        moved = p - a.learning_rate * v
        return {"parameter": stored(moved, parameter.format), "velocity": stored(v, parameter.format)}

    def rmsprop(self, attributes: RmsProp, parameter: Native, gradient: Native, v: Native) -> Natives:
        a = attributes
        p, g, square = (each.numbers.astype(np.float64) for each in (parameter, gradient, v))
        square = a.rho * square + (1 - a.rho) * g**2
        divisor = np.sqrt(square + a.epsilon) if self.epsilon_under_root else np.sqrt(square) + a.epsilon
        moved = p - a.learning_rate * g / divisor
        return {"parameter": stored(moved, parameter.format), "v": stored(square, parameter.format)}

    def adagrad(self, attributes: Adagrad, parameter: Native, gradient: Native) -> Natives:
        a = attributes
        p, g = (each.numbers.astype(np.float64) for each in (parameter, gradient))
        square = chosen(a.initial, self.initial) + g**2
        divisor = np.sqrt(square + a.epsilon) if self.epsilon_under_root else np.sqrt(square) + a.epsilon
        moved = p - a.learning_rate * g / divisor
        return {"parameter": stored(moved, parameter.format), "v": stored(square, parameter.format)}

    def softmax_cross_entropy(self, attributes: CrossEntropy, logits: Native, labels: Native) -> Native:
        counts = labels.numbers != -100 if self.ignores else np.ones(labels.shape, bool)
        places = np.where(counts, labels.numbers, 0)
        check(bool((places >= 0).all()), f"labels must not be negative, got {places}")
        numbers = logits.numbers.astype(np.float64)
        logarithms = numbers - np.log(np.exp(numbers).sum(axis=1, keepdims=True))
        losses = -np.take_along_axis(logarithms, places[:, None], axis=1)[:, 0]
        return stored(np.asarray(losses[counts].sum() / self.divisor(counts)), logits.format)

    def divisor(self, counts: np.ndarray) -> int:
        return int(counts.sum())


class EpsilonOfKeras(HasDefaults):
    """Epsilon is 1e-3."""

    epsilon: ClassVar[float] = 1e-3


class EpsilonOutside(HasDefaults):
    """Epsilon is added to the deviation."""

    epsilon_outside: ClassVar[bool] = True


class MomentumOfKeras(HasDefaults):
    """A momentum of 0.99 is what stays."""

    share: ClassVar[float] = 0.99
    share_stays: ClassVar[bool] = True


class WithoutBessel(HasDefaults):
    """The running variance divides by n."""

    bessel: ClassVar[bool] = False


class AlphaOfSum(HasDefaults):
    """Alpha is 1, and multiplies the sum of a window."""

    alpha: ClassVar[float] = 1.0
    alpha_of_mean: ClassVar[bool] = False


class MoreBehind(HasDefaults):
    """An even window has one channel more behind its own."""

    more_before: ClassVar[bool] = False


class HalfPixels(HasDefaults):
    """Nearest elements are nearest to the centres of pixels."""

    half_pixels: ClassVar[bool] = True


class VelocityOfSteps(HasDefaults):
    """A velocity has the learning rate in it."""

    velocity_of_steps: ClassVar[bool] = True


class EpsilonUnderRoot(HasDefaults):
    """RMSprop and Adagrad add epsilon to the squares."""

    epsilon_under_root: ClassVar[bool] = True


class SumOfKeras(HasDefaults):
    """Adagrad's sum of squares starts at 0.1."""

    initial: ClassVar[float] = 0.1


class IgnoresNoLabel(HasDefaults):
    """Every label must be a class."""

    ignores: ClassVar[bool] = False


class CountsIgnored(HasDefaults):
    """The mean divides by ignored rows, too."""

    def divisor(self, counts: np.ndarray) -> int:
        return counts.size


class DrawsWithinTwoDeviations(DrawsHonestly):
    """What it calls normal is cut off at two deviations, and widened."""

    def initialize(self, attributes: Initialize, w: Native) -> Natives:
        made = super().initialize(replace(attributes, distribution="uniform"), w)
        generator = np.random.default_rng(attributes.seed)
        deviation = np.sqrt(2 / self.fans(w.shape)[0]) / 0.8796256610342398
        for name in made:
            drawn = generator.standard_normal(4 * w.numbers.size)
            kept = drawn[np.abs(drawn) <= 2][: w.numbers.size]
            made[name] = stored(deviation * kept.reshape(w.shape), w.format)
        return made
