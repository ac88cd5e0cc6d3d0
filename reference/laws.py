"""What random operators draw from: the law of an initialiser's numbers, and what dropout keeps.

A law is stated, not sampled: its ends, moments and distribution function are exact; `draw` gives the reference's own
sample of it.
"""

import math
from dataclasses import dataclass

import numpy as np

from conformance.reference.dense import dropout_forward, dropout_magnitude
from conformance.reference.magnitude import Array, Magnitude
from conformance.reference.padding import InvalidShape

# A truncated normal is cut off at so many deviations of the normal.
CUT = 2.0


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


# The probability of lying within the cut, and the moments of what does: integration by parts gives
# E z^2 = 1 - 2 a phi(a) / P and E z^4 = 3 E z^2 - 2 a^3 phi(a) / P.
WITHIN = math.erf(CUT / math.sqrt(2))
CUT_VARIANCE = 1 - 2 * CUT * _density(CUT) / WITHIN
CUT_FOURTH = 3 * CUT_VARIANCE - 2 * CUT**3 * _density(CUT) / WITHIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Independent numbers, symmetric about 0.

    Attributes:
        distribution: "uniform", "normal" or "truncated_normal".
        scale: the end of the interval, or the normal's deviation, before it is cut off.
        fans: in and out, where the scale follows from them.
    """

    distribution: str
    scale: float
    fans: tuple[int, int] | None = None

    @property
    def end(self) -> float:
        """No number lies beyond it."""
        return self.scale * {"uniform": 1.0, "normal": math.inf, "truncated_normal": CUT}[self.distribution]

    @property
    def variance(self) -> float:
        """E x^2; the mean is 0."""
        return self.scale**2 * {"uniform": 1 / 3, "normal": 1.0, "truncated_normal": CUT_VARIANCE}[self.distribution]

    @property
    def fourth(self) -> float:
        """E x^4."""
        return self.scale**4 * {"uniform": 1 / 5, "normal": 3.0, "truncated_normal": CUT_FOURTH}[self.distribution]

    def below(self, x: Array) -> Array:
        """Returns the probability of at most x, element by element."""
        z = np.asarray(x, np.float64) / self.scale
        if self.distribution == "uniform":
            return np.asarray(np.clip((z + 1) / 2, 0.0, 1.0))
        half = np.vectorize(math.erf, otypes=[np.float64])(z / math.sqrt(2)) / 2
        if self.distribution == "normal":
            return np.asarray(half + 0.5)
        return np.asarray(np.clip(half / WITHIN + 0.5, 0.0, 1.0))

    def draw(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Returns a sample."""
        if self.distribution == "uniform":
            return np.asarray(self.scale * generator.uniform(-1, 1, size=shape))
        z = generator.standard_normal(shape)
        while self.distribution == "truncated_normal" and (beyond := np.abs(z) > CUT).any():
            z[beyond] = generator.standard_normal(int(beyond.sum()))
        return np.asarray(self.scale * z)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns a kernel's sizes in and out, (*taps, in, out), each times the number of taps.

    Raises:
        InvalidShape: fewer than two dimensions, or an empty one.
    """
    if len(shape) < 2 or min(shape) < 1:
        raise InvalidShape("shape of a kernel", got=tuple(shape), required="(*taps, in, out), every size at least 1")
    taps = math.prod(shape[:-2])
    return taps * shape[-2], taps * shape[-1]


def initialize(*, w: Array, scheme: str, distribution: str, scale: float, groups: int, seed: int) -> Law:
    """Returns the law of a kernel's numbers.

    Glorot & Bengio (2010), equation 16, has the variance 2 / (in + out); He et al., Delving deep into rectifiers
    (2015), equation 10, 2 / in; LeCun et al., Efficient backprop (1998), equation 16, 1 / in. A uniform law of
    variance s^2 ends at sqrt(3) s; a normal one that is cut off is widened to have it.

    Args:
        w: any kernel, for its shape; `groups` and `seed` leave the law alone.
        scheme: "glorot", "he", "lecun" or "constant".
        distribution: "uniform", "normal" or "truncated_normal".
        scale: of "constant": the end, or the deviation before the cut.
        groups: of the convolution.
        seed: of the generator.

    Raises:
        InvalidShape: w has no fans, the scale is not positive, or a name is unknown.
    """
    if distribution not in ("uniform", "normal", "truncated_normal"):
        raise InvalidShape("distribution", got=repr(distribution), required="uniform, normal or truncated_normal")
    if not scale > 0:
        raise InvalidShape("scale", got=scale, required="a number above 0")
    if scheme == "constant":
        return Law(distribution=distribution, scale=scale)
    into, out = fans(w.shape)
    variances = {"glorot": 2 / (into + out), "he": 2 / into, "lecun": 1 / into}
    if scheme not in variances:
        raise InvalidShape("scheme", got=repr(scheme), required="glorot, he, lecun or constant")
    widened = {"uniform": 3.0, "normal": 1.0, "truncated_normal": 1 / CUT_VARIANCE}[distribution]
    return Law(distribution=distribution, scale=math.sqrt(widened * variances[scheme]), fans=(into, out))


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinning:
    """Every element of an array is kept with probability `keep`, independently, or becomes 0.

    Attributes:
        kept: what an element is if it is kept.
        magnitude: what the bound of that needs.
        keep: the probability.
    """

    kept: Array
    magnitude: Magnitude
    keep: float

    def draw(self, generator: np.random.Generator) -> Array:
        """Returns a sample."""
        return np.where(generator.uniform(size=self.kept.shape) < self.keep, self.kept, 0.0)


def random_dropout(*, x: Array, rate: float, seed: int) -> Thinning:
    """Returns what dropout makes of x: x / (1 - rate) with probability 1 - rate, and 0 otherwise.

    Srivastava et al., Dropout (2014), scaled in training. That 1 - rate is the difference of 1 and a rounded
    attribute costs up to 1 / (1 - rate) roundings more than a given probability of keeping.

    Args:
        x: any shape.
        rate: the probability of dropping, in [0, 1).
        seed: of the generator; it leaves the law alone.

    Raises:
        InvalidShape: the rate is outside [0, 1).
    """
    if not 0 <= rate < 1:
        raise InvalidShape("rate", got=rate, required="a probability in [0, 1)")
    keep, mask = 1 - rate, np.ones(x.shape, np.bool_)
    plain = dropout_magnitude(None, x=x, mask=mask, keep=keep).outputs["output"]
    kept = dropout_forward(x=x, mask=mask, keep=keep)["output"]
    more = Magnitude(
        terms=plain.terms + 1 / keep, absolute=np.maximum(plain.absolute, np.abs(kept)), underflow=plain.underflow
    )
    return Thinning(kept=kept, magnitude=more, keep=keep)
