"""Standardising: numbers less their mean, over the root of their variance; what every normalisation is made of.

A *set* are the numbers that share a mean and a variance: the axes `axes` of x. With n numbers x_i in a set,

    m = mean x_i,  v = mean (x_i - m)^2,  v' = v + epsilon,  i = 1 / sqrt(v'),  y_i = s_i (x_i - m) i + o_i

(Ioffe & Szegedy, Batch Normalization, 2015, algorithm 1; Ba, Kiros & Hinton, Layer Normalization, 2016, equation 4),
with a scale s and an offset o. With d_i = g_i s_i, g the cotangent, and c_i = x_i - m, the gradients are

    x: i (d_i - mean d) - b c_i,  b = i^3 mean(d c)        scale: sum of g c i        offset: sum of g

(Ioffe & Szegedy, section 3, with their terms collected), or i d_i alone where mean and variance are given.

Running error analysis
----------------------
u is the unit roundoff, gamma(n) = n u / (1 - n u); A is the mean of |x|, R the root of the mean of x^2, r the root of
v'. A count of roundings times a size means gamma(count) times that size (see `chains`).

1. The mean. Summed in any order and divided: n + 1 roundings of A. By Welford's updates

       m_k = m_(k-1) + w_k / k,   w_k = x_k - m_(k-1),   the first of them exact,

   the error e_k satisfies k e_k <= (k - 1) e_(k-1) + u (k |m_k| + 3 |w_k|): one rounding of the sum, three of
   difference, reciprocal and product. With T_k the sum of the first k |x|, k |m_k| is at most T_k, and |w_k| at most
   |x_k| + T_(k-1) / (k - 1). Summed over k, n e_n is at most u times the lesser of 5 (n - 1) T_n and
   (n + 3 + 3 H_(n-1)) T_n, where the harmonic number H_k <= 1 + log k. Chan's combination of two sets, the one that
   is joined not the larger, adds 5 roundings for every level; a doubling of n adds more to the count. Hence

       mu := |computed m - m| <= gamma(M) A,   M = max(n + 1, min(5 (n - 1), n + 6 + 3 log n)).

2. The variance. In two passes, the mean of (x_i - (m + mu))^2 is (v + mu^2) (1 + theta), theta of n + 4 roundings
   (difference, counted twice by the square; square; n - 1 sums; 2 of the quotient). By Welford's updates V_k =
   V_(k-1) + w_k (x_k - m_k), n v = V_n, besides n + 4 roundings, the errors of the means give 2 sum |w_k| e_k. By
   Cauchy's inequality, with sum of w_k^2 <= 2 n v from k = 2 on, e_k <= u M(k) T_k / k and T_k^2 <= k n R^2, that is
   n sqrt(v) R u times 2 sqrt(2 sum M(k)^2 / k). Hence

       |computed v - v| <= gamma(n + 4) v + gamma(V) sqrt(v) R,  V = 2 n + 1 + 16 log n,  or  gamma(n + 4) v + 2 mu^2.

   Combinations of halves, or of small sets into large ones, stay below that by the same inequality, with fewer levels
   than updates.

3. The inverse root. epsilon's rounding, the sum, and the root (8, `INVERSE_ROOT`). Of v's error, (n + 6) / 2.
   Welford's part is V sqrt(v) R / (2 v') more; in two passes, as 1 - 1 / sqrt(1 + t^2) <= 0.31 t for all t >= 0, mu^2
   is at most 0.31 mu / r, of first order. So i has

       I = (n + 6) / 2 + 8 + max(V sqrt(v) R / (2 v'), 0.31 M A / r)

   roundings; (1 - gamma(N))^(-1/2) <= 1 + gamma(2 N) / 4 asks for a `longest` chain of 4 I. Given m and v: I = 9,
   mu = 0.

4. The output. As (x - m) i s + o, in any order of the products, or as x (i s) + (o - m (i s)): an error of m moves
   both by mu i |s|, an error of i by I roundings of |c| i |s|. Besides, the first form rounds c, two products and the
   sum, the second i s, x i s, m i s, o - m i s and the sum: (I + 5, |c|), (1, |x|), (2, |m|), each times i |s|; and
   (2, |o|).

5. The gradient for x. What b is made of does not cancel alike everywhere. A sum of d (x - m) rounds terms |d c|, and
   mu enters with mean |d|; a sum of d x less m times a sum of d rounds terms |d| |x| and |m| mean |d|. Both, and the
   scale's gradient times s: with D = mean |d|, Q = mean |d| (|x| + A), P = mean |d c|,

       |computed b - b| <= E := i^3 ((n + 10) Q + M A D + 3 (I + 2) P),    |b| <= B := i^3 P,

   n - 1 sums, 2 of the quotient, up to 9 products (i^3 and the factor of 2 taken back included), I for each i. Then

       i d_i      three products, six sums with the other terms: I + 9
       i mean d   I + n + 9
       b c_i      E |c_i|; x_i - m rounded, or b x_i and b m apart, with the same sums: 10 B (|x_i| + A); mu B
       b mean c   nothing but roundings, where the variance is differentiated as a function of the mean too:
                  B (mu + gamma(n + 4) mean |c|)

   Products of two errors: E times at most 2 mu + 6 u (|x_i| + A) + gamma(n + 4) mean |c|. If `longest` is at least
   (32 (|x_i| + A) + 6 M A + 6 (n + 4) mean |c|) i, that bracket stays below r wherever the bound is finite, and
   E (|c_i| + r) covers it.

6. The scale's gradient: N sums of g c i, or g x i less g m i: (I, |g c i|), (N + 8, |g| (|x| + A) i), (M A, |g| i).
   The offset's: N.

7. Underflow. A flushed square costs v at most 3 eta, hence i 2 eta / v' of itself; a flushed mean, or its parts, cost
   m (n + 1) eta; a flushed product is multiplied by what follows it. The counts below are generous.

Covered are sums in any order, two passes, Welford and Chan. Not covered is mean(x^2) - mean(x)^2, which
loses (R / r)^2.
"""

from dataclasses import dataclass
from math import log, prod

import numpy as np

from conformance.reference.chains import chained
from conformance.reference.magnitude import Array, Magnitude

INVERSE_ROOT = 8.0
"""The roundings that a reciprocal square root stands for (numerics, "Other operators": rsqrt 8)."""

Axes = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Mean and variance of every set, kept broadcastable to x, and what is known of their errors.

    Attributes:
        axes: those that a set runs over.
        count: n; 0 where mean and variance were given.
        mean: m.
        variance: v.
        size: A, or |m| where it was given.
        shift: M A, the error of the mean in units of u; 0 where it was given.
        blur: sqrt(v) R V, the error of the variance in units of u that is not relative to it; 0 where it was given.
    """

    axes: Axes
    count: int
    mean: Array
    variance: Array
    size: Array
    shift: Array
    blur: Array


@np.errstate(all="ignore")
def measured(x: Array, axes: Axes) -> Statistics:
    """Takes mean and biased variance over axes, in two passes; no set may be empty."""
    count = prod(x.shape[axis] for axis in axes)
    mean = x.mean(axis=axes, keepdims=True)
    variance = np.square(x - mean).mean(axis=axes, keepdims=True)
    size = np.abs(x).mean(axis=axes, keepdims=True)
    root_mean_square = np.sqrt(np.square(x).mean(axis=axes, keepdims=True))
    return Statistics(
        axes=axes,
        count=count,
        mean=mean,
        variance=variance,
        size=size,
        shift=mean_roundings(count) * size,
        blur=variance_roundings(count) * np.sqrt(variance) * root_mean_square,
    )


def given(mean: Array, variance: Array) -> Statistics:
    """Mean and variance as they are, without errors."""
    none = np.zeros(())
    return Statistics(axes=(), count=0, mean=mean, variance=variance, size=np.abs(mean), shift=none, blur=none)


def mean_roundings(count: int) -> float:
    """M of step 1."""
    return max(count + 1.0, min(5.0 * (count - 1), count + 6 + 3 * log(count)))


def variance_roundings(count: int) -> float:
    """V of step 2."""
    return 2 * count + 1 + 16 * log(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardized:
    """A standardisation that was made, with the arrays that value, gradients and bounds share.

    Attributes:
        x: the numbers.
        statistics: of their sets.
        scale: s, broadcastable to x; ones where there is none.
        offset: o, likewise; zeros where there is none.
        root: r.
        inverse: i.
        centred: c.
    """

    x: Array
    statistics: Statistics
    scale: Array
    offset: Array
    root: Array
    inverse: Array
    centred: Array

    @property
    def output(self) -> Array:
        """Y."""
        with np.errstate(all="ignore"):
            return np.asarray(self.centred * self.inverse * self.scale + self.offset)

    @np.errstate(all="ignore")
    def pulled(self, cotangent: Array) -> Array:
        """The gradient for x."""
        d = cotangent * self.scale
        if not self.statistics.count:
            return np.asarray(d * self.inverse)
        axes, standard = self.statistics.axes, self.centred * self.inverse
        along = (d * standard).mean(axis=axes, keepdims=True)
        return np.asarray(self.inverse * (d - d.mean(axis=axes, keepdims=True) - standard * along))

    @np.errstate(all="ignore")
    def pulled_scale(self, cotangent: Array) -> Array:
        """The gradient for the scale, before it is summed."""
        return np.asarray(cotangent * (self.centred * self.inverse))

    @property
    def roundings(self) -> Array:
        """I of step 3."""
        known = self.statistics
        if not known.count:
            return np.asarray(INVERSE_ROOT + 1)
        square = np.square(self.root)
        with np.errstate(all="ignore"):
            conditioned = np.maximum(known.blur / (2 * square), 0.31 * known.shift / self.root)
        return np.asarray((known.count + 6) / 2 + INVERSE_ROOT + conditioned)

    @np.errstate(all="ignore")
    def magnitude(self) -> Magnitude:
        """The bound of the output: step 4."""
        known, roundings = self.statistics, self.roundings
        weight = np.abs(self.scale) * self.inverse
        centred, size = np.abs(self.centred), np.abs(self.x)
        return chained(
            (roundings + 5, centred * weight),
            (1.0, (known.shift + size + 2 * known.size) * weight),
            (2.0, np.abs(self.offset)),
            longest=4 * roundings + mean_roundings(max(known.count, 1)) + 8,
            underflow=centred * weight * 2 / np.square(self.root)
            + (known.count + 2) * weight
            + 2 * (size + known.size)
            + 4,
        )

    @np.errstate(all="ignore")
    def magnitude_pulled(self, cotangent: Array) -> Magnitude:
        """The bound of the gradient for x: step 5."""
        known, roundings, inverse = self.statistics, self.roundings, self.inverse
        d = np.abs(cotangent * self.scale)
        straight = inverse * d
        flush = 6 / np.square(self.root)
        if not known.count:
            return chained(
                (roundings + 3, straight),
                underflow=straight * flush + np.abs(cotangent) + inverse + 2,
                longest=4 * roundings + 3,
            )
        n, axes = known.count, known.axes
        centred, wide = np.abs(self.centred), np.abs(self.x) + known.size
        mean_d = d.mean(axis=axes, keepdims=True)
        apart = (d * wide).mean(axis=axes, keepdims=True)
        bent = inverse**3 * (d * centred).mean(axis=axes, keepdims=True)
        mean_centred = centred.mean(axis=axes, keepdims=True)
        error = inverse**3 * ((n + 10) * apart + known.shift * mean_d) + 3 * (roundings + 2) * bent
        everything = (
            (1 + inverse) ** 3 * (1 + np.abs(self.scale)) * (1 + np.abs(cotangent) + mean_d) * (1 + wide) ** 2
        )
        return chained(
            (roundings + 9, straight),
            (roundings + (n + 9), inverse * mean_d),
            (1.0, error * (centred + self.root)),
            (10.0, bent * wide),
            (1.0, bent * (2 * known.shift + (n + 4) * mean_centred)),
            longest=12 * roundings
            + mean_roundings(n)
            + (n + 30)
            + (32 * wide + 6 * known.shift + 6 * (n + 4) * mean_centred) * inverse,
            underflow=flush * (straight + inverse * mean_d + 3 * bent * centred) + (n + 16) * everything,
        )

    @np.errstate(all="ignore")
    def magnitude_scale(self, cotangent: Array, shape: tuple[int, ...]) -> Magnitude:
        """The bound of the scale's gradient, summed onto a shape: step 6."""
        known, roundings = self.statistics, self.roundings
        weight = np.abs(cotangent) * self.inverse
        centred, wide = np.abs(self.centred), np.abs(self.x) + known.size
        terms = self.x.size // max(prod(shape), 1)
        each = weight * (roundings * centred + (terms + 8) * wide + known.shift)
        flushed = weight * centred * 2 / np.square(self.root) + (known.count + 4) * (weight + np.abs(cotangent) + 1)
        chains = np.broadcast_to(4 * roundings + mean_roundings(max(known.count, 1)), self.x.shape)
        return chained(
            (1.0, summed_onto(each, shape)),
            longest=summed_onto(chains, shape, largest=True) + terms + 10,
            underflow=summed_onto(flushed * (1 + wide) * (1 + self.inverse), shape) + terms,
        )


def standardized(
    x: Array, statistics: Statistics, *, epsilon: float, scale: Array | None, offset: Array | None
) -> Standardized:
    """Standardises x; scale and offset are broadcastable to it."""
    with np.errstate(all="ignore"):
        root = np.sqrt(statistics.variance + epsilon)
        return Standardized(
            x=x,
            statistics=statistics,
            scale=np.ones(()) if scale is None else scale,
            offset=np.zeros(()) if offset is None else offset,
            root=root,
            inverse=1 / root,
            centred=x - statistics.mean,
        )


def magnitude_offset(cotangent: Array, shape: tuple[int, ...]) -> Magnitude:
    """The bound of the offset's gradient: a sum of cotangents."""
    terms = float(cotangent.size // max(prod(shape), 1))
    return chained((terms, summed_onto(np.abs(cotangent), shape)), underflow=terms)


def summed_onto(values: Array, shape: tuple[int, ...], *, largest: bool = False) -> Array:
    """Sums (or takes the largest) along the axes that a broadcastable shape of as many axes has with size 1."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1 and values.shape[axis] != 1)
    if not axes:
        return values
    with np.errstate(all="ignore"):
        if largest:
            return np.asarray(values.max(axis=axes, keepdims=True, initial=0.0))
        return np.asarray(values.sum(axis=axes, keepdims=True))
