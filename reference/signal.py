"""Convolution and correlation of two arrays, 1-D or 2-D, as `scipy.signal` defines them (direct method).

With starts s at the front of the full result, one an axis,

    convolve   output[o] = sum over k of x[o + s - k] w[k],        correlate   the same with w reversed along every
    axis,

where positions outside x take part in no sum. So tap k joins a slice of x to a slice of the output; value and
gradients are sums over the same slices, and nothing is embedded in zeros (a zero times an infinity would be NaN where
the definition has no term).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product as cartesian

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, require_shape


def convolve_forward(*, x: Array, w: Array, mode: str) -> Outputs:
    """Convolves x with w.

    Args:
        x: 1-D or 2-D, not empty.
        w: as many dimensions as x, not empty.
        mode: "full" for every position of overlap; "same" for the middle part with x's shape (for an even w the
            earlier of the two middles); "valid" for the positions where the smaller one lies within the larger one.

    Returns:
        "output", of size n + k - 1, n, or max(n, k) - min(n, k) + 1 along each axis.

    Raises:
        InvalidShape: dimensions differ or are not 1 or 2, one is empty, the mode is unknown, or in "valid" mode
            neither operand covers the other along every axis.
    """
    return {"output": _convolved(x, w, _axes(x, w, mode))}


def convolve_vjp(cotangents: Outputs, *, x: Array, w: Array, mode: str) -> Gradients:
    """Correlates the cotangent with w for x, and with x for w; arguments as for `convolve_forward`."""
    axes = _axes(x, w, mode)
    of_x, of_w = _pulled_back(_cotangent(cotangents, axes), x, w, axes)
    return {"x": of_x, "w": of_w}


def convolve_magnitude(cotangents: Outputs | None, *, x: Array, w: Array, mode: str) -> Magnitudes:
    """Counts the terms of each sum, and sums their absolute values; arguments as for `convolve_forward`."""
    axes = _axes(x, w, mode)
    size_x, size_w = np.abs(x), np.abs(w)
    terms = _outer([axis.terms_of_output() for axis in axes])
    magnitudes = Magnitudes(outputs={"output": _summed(terms, _convolved(size_x, size_w, axes))}, gradients={})
    if cotangents is not None:
        of_x, of_w = _pulled_back(np.abs(_cotangent(cotangents, axes)), size_x, size_w, axes)
        magnitudes.gradients["x"] = _summed(_outer([axis.terms_of_x() for axis in axes]), of_x)
        magnitudes.gradients["w"] = _summed(_outer([axis.terms_of_w() for axis in axes]), of_w)
    return magnitudes


def correlate_forward(*, x: Array, w: Array, mode: str) -> Outputs:
    """Correlates x with w: convolves it with the reversed w; arguments as for `convolve_forward`."""
    return convolve_forward(x=x, w=np.flip(w), mode=mode)


def correlate_vjp(cotangents: Outputs, *, x: Array, w: Array, mode: str) -> Gradients:
    """Pulls the cotangent back; arguments as for `convolve_forward`."""
    gradients = convolve_vjp(cotangents, x=x, w=np.flip(w), mode=mode)
    return {"x": gradients["x"], "w": np.flip(gradients["w"]).copy()}


def correlate_magnitude(cotangents: Outputs | None, *, x: Array, w: Array, mode: str) -> Magnitudes:
    """Counts the terms of each sum, and sums their absolute values; arguments as for `convolve_forward`."""
    magnitudes = convolve_magnitude(cotangents, x=x, w=np.flip(w), mode=mode)
    if cotangents is not None:
        of_w = magnitudes.gradients["w"]
        magnitudes.gradients["w"] = _summed(np.flip(of_w.terms), np.flip(of_w.absolute))
    return magnitudes


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis: n elements of x, k of w, and `size` of the full result's n + k - 1, from `start` on."""

    n: int
    k: int
    start: int
    size: int

    def joined(self, tap: int) -> tuple[slice, slice]:
        """Returns the positions of x and of the output that a tap of w joins, as two equally long slices."""
        first, last = max(0, self.start - tap), min(self.n, self.start + self.size - tap)
        last = max(first, last)
        return slice(first, last), slice(first + tap - self.start, last + tap - self.start)

    def terms_of_output(self) -> Array:
        """Counts the taps k with a position of x at o + start - k."""
        o = np.arange(self.size) + self.start
        return _count(np.maximum(0, o - self.n + 1), np.minimum(self.k - 1, o))

    def terms_of_x(self) -> Array:
        """Counts the taps k with an output at i + k - start."""
        i = np.arange(self.n) - self.start
        return _count(np.maximum(0, -i), np.minimum(self.k - 1, self.size - 1 - i))

    def terms_of_w(self) -> Array:
        """Counts the positions i of x with an output at i + k - start."""
        k = np.arange(self.k) - self.start
        return _count(np.maximum(0, -k), np.minimum(self.n - 1, self.size - 1 - k))


def _count(first: Array, last: Array) -> Array:
    return np.asarray(np.maximum(last - first + 1, 0), dtype=np.float64)


def _axes(x: Array, w: Array, mode: str) -> tuple[_Axis, ...]:
    if x.ndim not in (1, 2) or w.ndim != x.ndim:
        raise InvalidShape("dimensions", got=f"{x.ndim}-D x and {w.ndim}-D w", required="both 1-D or both 2-D")
    if min(*x.shape, *w.shape) < 1:
        raise InvalidShape("x and w", got=f"shapes {x.shape} and {w.shape}", required="no empty axis")
    pairs = list(zip(x.shape, w.shape, strict=True))
    if mode == "full":
        return tuple(_Axis(n, k, 0, n + k - 1) for n, k in pairs)
    if mode == "same":
        return tuple(_Axis(n, k, (k - 1) // 2, n) for n, k in pairs)
    if mode != "valid":
        raise InvalidShape("mode", got=repr(mode), required="'full', 'same' or 'valid'")
    if any(n < k for n, k in pairs) and any(n > k for n, k in pairs):
        raise InvalidShape(
            "x and w in 'valid' mode",
            got=f"shapes {x.shape} and {w.shape}",
            required="one at least as large as the other along every axis",
        )
    return tuple(_Axis(n, k, min(n, k) - 1, max(n, k) - min(n, k) + 1) for n, k in pairs)


def _joined(axes: tuple[_Axis, ...]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """Yields each tap of w with the slices of x and of the output that it joins."""
    for chosen in cartesian(*([(tap, *axis.joined(tap)) for tap in range(axis.k)] for axis in axes)):
        index, seen, where = zip(*chosen, strict=True)
        yield index, seen, where


def _swapped(axes: tuple[_Axis, ...]) -> tuple[_Axis, ...]:
    return tuple(_Axis(axis.k, axis.n, axis.start, axis.size) for axis in axes)


@np.errstate(all="ignore")
def _convolved(x: Array, w: Array, axes: tuple[_Axis, ...]) -> Array:
    if w.size > x.size:
        # Convolution commutes, and the loop runs over the second operand.
        x, w, axes = w, x, _swapped(axes)
    output = np.zeros(tuple(axis.size for axis in axes))
    for index, seen, where in _joined(axes):
        output[where] += x[seen] * w[index]
    return output


@np.errstate(all="ignore")
def _pulled_back(cotangent: Array, x: Array, w: Array, axes: tuple[_Axis, ...]) -> tuple[Array, Array]:
    """Returns the gradients of x and w."""
    if w.size > x.size:
        of_w, of_x = _pulled_back(cotangent, w, x, _swapped(axes))
        return of_x, of_w
    of_x, of_w = np.zeros(x.shape), np.zeros(w.shape)
    for index, seen, where in _joined(axes):
        part = cotangent[where]
        of_x[seen] += part * w[index]
        of_w[index] = (part * x[seen]).sum()
    return of_x, of_w


def _cotangent(cotangents: Outputs, axes: tuple[_Axis, ...]) -> Array:
    return require_shape("the cotangent of output", cotangents["output"], tuple(axis.size for axis in axes))


def _outer(factors: list[Array]) -> Array:
    return factors[0] if len(factors) == 1 else factors[0][:, None] * factors[1]


def _summed(terms: Array, absolute: Array) -> Magnitude:
    return Magnitude(terms=terms, absolute=absolute, underflow=terms)
