"""What errors of transform algorithms are measured against: norms, not the terms of one sum.

Winograd's algorithms and FFT convolution add and subtract numbers of a whole tile, or of the whole plane, before they
multiply, so an element's error follows the largest of its neighbours instead of its own terms, and no bound by
element holds (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, sections 23.2.2 and 24.1). With a
channel's largest absolute value over the plane, and the absolute sum of a kernel's taps,

    L[b] = sum over a of  max |large[., a]| * sum |kernel[., a, b]|

is such a norm for the sliding sum over a, and likewise for its two gradients.
"""

import numpy as np

from conformance.reference.magnitude import Array


def convolution_norms(
    *, x: Array, w: Array, groups: int, cotangent: Array | None, transposed: bool
) -> tuple[Array, dict[str, Array]]:
    """Returns L of a convolution's output and, where a cotangent is given, of its gradients to x and w.

    Args:
        x: (batch, *spatial, in).
        w: (*taps, in / groups, out), transposed (*taps, out / groups, in).
        groups: divides in and out.
        cotangent: (batch, *outputs, out), or None.
        transposed: x and the output change places in what w connects.

    Returns:
        Arrays that broadcast to the output (batch, 1.., out), to x (batch, 1.., in) and to w (1.., in / groups, out).
    """
    taps = np.abs(w).sum(axis=tuple(range(w.ndim - 2)))
    # (groups, a, b): what the small side's channel b reads of the large side's channel a.
    small_side = taps.reshape(taps.shape[0], groups, -1).swapaxes(0, 1)
    towards = small_side.swapaxes(1, 2) if transposed else small_side
    output = _carried(_peaks(x), towards, x.ndim)
    if cotangent is None:
        return output, {}
    gradients = {"x": _carried(_peaks(cotangent), towards.swapaxes(1, 2), x.ndim)}
    large, small = (cotangent, x) if transposed else (x, cotangent)
    peaks = _peaks(large).reshape(len(large), groups, -1)
    sums = np.abs(small).sum(axis=tuple(range(1, small.ndim - 1))).reshape(len(small), groups, -1)
    products = np.einsum("nga,ngb->agb", peaks, sums)
    gradients["w"] = products.reshape((1,) * (w.ndim - 2) + w.shape[-2:])
    return output, gradients


def _peaks(data: Array) -> Array:
    """Returns the largest absolute value of every channel's plane, (batch, channels)."""
    return np.asarray(np.abs(data).max(axis=tuple(range(1, data.ndim - 1)), initial=0.0))


def _carried(peaks: Array, matrix: Array, ndim: int) -> Array:
    """Returns the peaks (batch, groups * a) through (groups, a, b), as (batch, 1.., groups * b)."""
    grouped = peaks.reshape(len(peaks), matrix.shape[0], -1)
    carried = np.einsum("nga,gab->ngb", grouped, matrix).reshape(len(peaks), -1)
    return np.asarray(carried.reshape(len(peaks), *(1,) * (ndim - 2), -1))
