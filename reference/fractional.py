"""Fractional max pooling: as many windows as the output has places, at steps that given samples decide.

Along an axis of n elements, m windows of k begin, for a sample u in [0, 1) and alpha = (n - k) / (m - 1), at

    floor((o + u) alpha) - floor(u alpha),      o = 0 ... m - 2,      and the last one at n - k

so that steps are floor(alpha) or one more, in an order that u chooses (Graham, Fractional Max-Pooling, 2014, section
2, whose pseudo-random sequence has ceilings). Every image and channel has a sample for its rows and one for its
columns.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_counts, require_shape


@np.errstate(all="ignore")
def forward(*, x: Array, samples: Array, size: Sequence[int], window: Sequence[int]) -> Outputs:
    """Takes the maximum of each window, NaN if there is one.

    Args:
        x: (N, H, W, C); the batch may be 0.
        samples: (N, C, 2), in [0, 1): of rows, of columns.
        size: rows and columns of the output, at least 1 each.
        window: rows and columns of a window; `size + window - 1` is at most x's.

    Returns:
        "output", (N, *size, C).

    Raises:
        InvalidShape: shapes and attributes do not fit each other, or a sample is outside [0, 1).
    """
    _check(x, samples, size, window)
    output = np.zeros((x.shape[0], *size, x.shape[-1]))
    for at, seen in _windows(x, samples, size, window):
        output[at] = x[seen].max()
    return {"output": output}


def vjp(cotangents: Outputs, *, x: Array, samples: Array, size: Sequence[int], window: Sequence[int]) -> Gradients:
    """Gives each window's cotangent to its maximum, of several to the first in row-major order.

    Arguments and errors as for `forward`; a NaN counts as the largest.
    """
    return {"x": _handed_down(_cotangent(cotangents, x, samples, size, window), x, samples, size, window)[0]}


def magnitude(
    cotangents: Outputs | None, *, x: Array, samples: Array, size: Sequence[int], window: Sequence[int]
) -> Magnitudes:
    """Maxima are exact; a gradient adds as many cotangents as windows have the element for their maximum.

    Arguments and errors as for `forward`.
    """
    outputs = {"output": exact(forward(x=x, samples=samples, size=size, window=window)["output"])}
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        cotangent = np.abs(_cotangent(cotangents, x, samples, size, window))
        absolute, taken = _handed_down(cotangent, x, samples, size, window)
        gradients["x"] = Magnitude(terms=np.maximum(taken - 1, 0), absolute=absolute, underflow=taken)
    return Magnitudes(outputs=outputs, gradients=gradients)


def starts(n: int, m: int, k: int, u: float) -> list[int]:
    """Returns where m windows of k begin along an axis of n elements, for the sample u."""
    alpha = (n - k) / max(m - 1, 1)
    first = int(u * alpha)
    return [*(int((o + u) * alpha) - first for o in range(m - 1)), n - k]


def _handed_down(
    cotangent: Array, x: Array, samples: Array, size: Sequence[int], window: Sequence[int]
) -> tuple[Array, Array]:
    """Returns the gradient, and how many cotangents each of its elements adds."""
    gradient, taken = np.zeros(x.shape), np.zeros(x.shape)
    for at, seen in _windows(x, samples, size, window):
        row, column = np.unravel_index(x[seen].argmax(), tuple(window))
        image, rows, columns, channel = seen
        place = image, rows.start + row, columns.start + column, channel
        gradient[place] += cotangent[at]
        taken[place] += 1
    return gradient, taken


_At = tuple[int, int, int, int]
_Seen = tuple[int, slice, slice, int]


def _windows(x: Array, samples: Array, size: Sequence[int], window: Sequence[int]) -> Iterator[tuple[_At, _Seen]]:
    """Every element of the output, and what it is the maximum of."""
    for image, channel in np.ndindex(x.shape[0], x.shape[-1]):
        along = [
            starts(n, m, k, float(u))
            for n, m, k, u in zip(x.shape[1:-1], size, window, samples[image, channel], strict=True)
        ]
        for i, row in enumerate(along[0]):
            for j, column in enumerate(along[1]):
                seen = slice(row, row + window[0]), slice(column, column + window[1])
                yield (image, i, j, channel), (image, *seen, channel)


def _cotangent(cotangents: Outputs, x: Array, samples: Array, size: Sequence[int], window: Sequence[int]) -> Array:
    _check(x, samples, size, window)
    return require_shape("the cotangent of output", cotangents["output"], (x.shape[0], *size, x.shape[-1]))


def _check(x: Array, samples: Array, size: Sequence[int], window: Sequence[int]) -> None:
    if x.ndim != 4:
        raise InvalidShape("axes of x", got=x.ndim, required="4: batch, 2 spatial, channels")
    require_shape("samples", samples, (x.shape[0], x.shape[-1], 2))
    for name, values in (("size", size), ("window", window)):
        require_counts(name, values, rank=2)
    for axis, (n, m, k) in enumerate(zip(x.shape[1:-1], size, window, strict=True)):
        if m + k - 1 > n:
            raise InvalidShape(
                f"elements on spatial axis {axis}", got=n, required=f"at least {m + k - 1}, for {m} windows of {k}"
            )
    if not ((samples >= 0) & (samples < 1)).all():
        raise InvalidShape("samples", got="one outside", required="numbers of at least 0 and below 1")
