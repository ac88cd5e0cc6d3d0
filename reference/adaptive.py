"""Adaptive pooling: as many windows as the output has places, whatever the size of the image.

Window o of m along an axis of n elements begins at floor(o n / m) and ends before ceil((o + 1) n / m), so windows may
overlap by an element and differ in size by one; where m is larger than n, elements are repeated.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_counts, require_shape
from conformance.reference.pooling import DIVISION_ROUNDINGS
from conformance.reference.sliding import positions

PIXELS = (1, 2)


@np.errstate(all="ignore")
def adaptive_average_pool2d_forward(*, x: Array, size: Sequence[int]) -> Outputs:
    """Takes the mean of each window.

    Args:
        x: (N, H, W, C), with at least one pixel; the batch may be 0.
        size: rows and columns of the output.

    Returns:
        "output", (N, *size, C).

    Raises:
        InvalidShape: x is no image or has no pixel, or the size is not two numbers of at least 1.
    """
    _check(x, size)
    output = np.zeros((x.shape[0], *size, x.shape[-1]))
    for place, window in _windows(x, size):
        output[:, *place] = x[:, *window].mean(axis=PIXELS)
    return {"output": output}


@np.errstate(all="ignore")
def adaptive_average_pool2d_vjp(cotangents: Outputs, *, x: Array, size: Sequence[int]) -> Gradients:
    """Spreads each window's cotangent evenly; arguments as for `adaptive_average_pool2d_forward`."""
    cotangent = _cotangent(cotangents, x, size)
    gradient = np.zeros(x.shape)
    for place, window in _windows(x, size):
        elements = (window[0].stop - window[0].start) * (window[1].stop - window[1].start)
        gradient[:, *window] += (cotangent[:, *place] / elements)[:, None, None]
    return {"x": gradient}


def adaptive_average_pool2d_magnitude(cotangents: Outputs | None, *, x: Array, size: Sequence[int]) -> Magnitudes:
    """A sum, divided, as an average pool's; the gradient likewise, over the windows that see the element.

    Arguments as for `adaptive_average_pool2d_forward`. Rows and columns may be divided one after the other: a
    division more.
    """
    absolute = adaptive_average_pool2d_forward(x=np.abs(x), size=size)["output"]
    taken = [_matrix(n, m) for n, m in zip(x.shape[1:-1], size, strict=True)]
    outputs = {"output": _quotient(positions([one.sum(axis=1) for one in taken]), absolute)}
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        shares = {"output": np.abs(_cotangent(cotangents, x, size))}
        absolute = adaptive_average_pool2d_vjp(shares, x=x, size=size)["x"]
        gradients["x"] = _quotient(positions([one.sum(axis=0) for one in taken]), absolute)
    return Magnitudes(outputs=outputs, gradients=gradients)


def adaptive_max_pool2d_forward(*, x: Array, size: Sequence[int]) -> Outputs:
    """Takes the maximum of each window, NaN if there is one; arguments as for `adaptive_average_pool2d_forward`."""
    _check(x, size)
    output = np.zeros((x.shape[0], *size, x.shape[-1]))
    for place, window in _windows(x, size):
        output[:, *place] = x[:, *window].max(axis=PIXELS)
    return {"output": output}


def adaptive_max_pool2d_vjp(cotangents: Outputs, *, x: Array, size: Sequence[int]) -> Gradients:
    """Gives each window's cotangent to its maximum, of several to the first in row-major order.

    Arguments as for `adaptive_average_pool2d_forward`; a NaN counts as the largest.
    """
    return {"x": _handed_down(_cotangent(cotangents, x, size), x, size)}


def adaptive_max_pool2d_magnitude(cotangents: Outputs | None, *, x: Array, size: Sequence[int]) -> Magnitudes:
    """Maxima are exact, their gradient adds at most as many cotangents as windows see the element."""
    output = exact(adaptive_max_pool2d_forward(x=x, size=size)["output"])
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        absolute = _handed_down(np.abs(_cotangent(cotangents, x, size)), x, size)
        taken = [_matrix(n, m) for n, m in zip(x.shape[1:-1], size, strict=True)]
        seen = np.broadcast_to(positions([one.sum(axis=0) for one in taken]), x.shape)
        gradients["x"] = Magnitude(terms=np.maximum(seen - 1, 0), absolute=absolute, underflow=seen)
    return Magnitudes(outputs={"output": output}, gradients=gradients)


def _quotient(counts: Array, absolute: Array) -> Magnitude:
    terms = np.broadcast_to(counts + DIVISION_ROUNDINGS, absolute.shape)
    return Magnitude(terms=terms, absolute=absolute, underflow=terms)


def _handed_down(cotangent: Array, x: Array, size: Sequence[int]) -> Array:
    gradient = np.zeros(x.shape)
    images, channels = np.ogrid[: x.shape[0], : x.shape[-1]]
    for place, window in _windows(x, size):
        seen = x[:, *window]
        first = seen.reshape(x.shape[0], seen.shape[1] * seen.shape[2], x.shape[-1]).argmax(axis=1)
        row, column = np.divmod(first, seen.shape[2])
        # One element an image and channel: nothing is added twice.
        gradient[:, *window][images, row, column, channels] += cotangent[:, *place]
    return gradient


def _windows(x: Array, size: Sequence[int]) -> Iterator[tuple[tuple[int, int], tuple[slice, slice]]]:
    """Every place of the output, and the rows and columns that it sees."""
    for i, rows in enumerate(_spans(x.shape[1], size[0])):
        for j, columns in enumerate(_spans(x.shape[2], size[1])):
            yield (i, j), (rows, columns)


def _spans(n: int, m: int) -> list[slice]:
    return [slice(o * n // m, -(-(o + 1) * n // m)) for o in range(m)]


def _matrix(n: int, m: int) -> Array:
    """(outputs, size): 1 where a window sees an element."""
    seen = np.zeros((m, n))
    for row, span in zip(seen, _spans(n, m), strict=True):
        row[span] = 1
    return seen


def _cotangent(cotangents: Outputs, x: Array, size: Sequence[int]) -> Array:
    _check(x, size)
    return require_shape("the cotangent of output", cotangents["output"], (x.shape[0], *size, x.shape[-1]))


def _check(x: Array, size: Sequence[int]) -> None:
    if x.ndim != 4:
        raise InvalidShape("axes of x", got=x.ndim, required="4: batch, 2 spatial, channels")
    require_counts("size", size, rank=2)
    if not x.shape[1] * x.shape[2]:
        raise InvalidShape("pixels of x", got=f"shape {x.shape}", required="at least one")
