"""The `pad` operator: what stands around the data, by mode.

Written for one axis of n elements a b c d and two more on either side:

    constant     v v | a b c d | v v
    reflect      c b | a b c d | c b     at most n - 1 on a side
    symmetric    b a | a b c d | d c     at most n
    edge         a a | a b c d | d d     n at least 1
    wrap         c d | a b c d | a b     at most n

More would have to repeat the repetition, which some frameworks do and others refuse: here it is refused.

A negative number cuts so many elements off before anything else happens, so that what is repeated is what is left:
(2, -1) in mode wrap gives b c | a b c. More than there are cannot be cut.
"""

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, Pairs, require_pairs, require_shape


def pad_forward(*, x: Array, padding: Pairs, mode: str, value: float) -> Outputs:
    """Surrounds x.

    Args:
        x: any shape, at least 1-D.
        padding: elements before and after, one (low, high) pair for every axis of x; negative ones are cut off.
        mode: "constant", "reflect", "symmetric", "edge" or "wrap".
        value: what stands there in the mode "constant".

    Returns:
        "output", of shape low + size + high along each axis.

    Raises:
        InvalidShape: the pairs do not fit x, or the mode is unknown.
    """
    sources = _all_sources(x, padding, mode)
    output = np.array(x, dtype=np.float64)
    for axis, source in enumerate(sources):
        outside = tuple(np.s_[:] if other != axis else source < 0 for other in range(x.ndim))
        if x.shape[axis]:
            output = output.take(np.maximum(source, 0), axis=axis)
        else:  # nothing to take from: constants alone
            output = np.zeros((*output.shape[:axis], len(source), *output.shape[axis + 1 :]))
        output[outside] = value
    return {"output": output}


def pad_vjp(cotangents: Outputs, *, x: Array, padding: Pairs, mode: str, value: float) -> Gradients:
    """Adds up, for every element, the cotangents of its copies; a constant has no part in the derivative.

    Arguments as for `pad_forward`, which also says what is raised.
    """
    del value
    sources = _all_sources(x, padding, mode)
    gradient = require_shape("the cotangent of output", cotangents["output"], tuple(map(len, sources)))
    for axis, source in enumerate(sources):
        inside = np.flatnonzero(source >= 0)
        folded = np.zeros((x.shape[axis], *np.delete(gradient.shape, axis)))
        np.add.at(folded, source[inside], np.moveaxis(gradient, axis, 0)[inside])
        gradient = np.moveaxis(folded, 0, axis)
    return {"x": np.ascontiguousarray(gradient)}


def pad_magnitude(cotangents: Outputs | None, *, x: Array, padding: Pairs, mode: str, value: float) -> Magnitudes:
    """Copies are exact; a gradient adds as many cotangents as its element has copies.

    Arguments as for `pad_forward`. In a sum of k terms each passes through k - 1 additions at most, each of which may
    be flushed: a single term is exact.
    """
    output = exact(pad_forward(x=x, padding=padding, mode=mode, value=value)["output"])
    magnitudes = Magnitudes(outputs={"output": output}, gradients={})
    if cotangents is not None:
        magnitudes.gradients["x"] = exact(x)
        if mode != "constant":
            size = pad_vjp({"output": np.abs(cotangents["output"])}, x=x, padding=padding, mode=mode, value=0.0)["x"]
            ones = {"output": np.ones(cotangents["output"].shape)}
            copies = pad_vjp(ones, x=x, padding=padding, mode=mode, value=0.0)["x"]
            sums = np.maximum(copies - 1, 0)  # what is cut off has no copy
            magnitudes.gradients["x"] = Magnitude(terms=sums, absolute=size, underflow=sums)
    return magnitudes


def _all_sources(x: Array, padding: Pairs, mode: str) -> list[Array]:
    require_pairs(padding, rank=x.ndim, negative=True)
    return [_cut(size, low, high, mode) for size, (low, high) in zip(x.shape, padding, strict=True)]


def _cut(size: int, low: int, high: int, mode: str) -> Array:
    """Returns which element stands at each position of an axis that is cut and padded; -1 for the constant."""
    first, last = max(-low, 0), max(-high, 0)
    if first + last > size:
        raise InvalidShape("padding", got=(low, high), required=f"at most {size} elements to be cut off")
    sources = _sources(size - first - last, max(low, 0), max(high, 0), mode)
    return np.where(sources < 0, -1, sources + first)


def _sources(size: int, low: int, high: int, mode: str) -> Array:
    """Returns which element stands at each position of the padded axis; -1 for the constant."""
    most = {"constant": None, "reflect": size - 1, "symmetric": size, "edge": None, "wrap": size}
    if mode not in most:
        raise InvalidShape("mode of pad", got=repr(mode), required=" or ".join(map(repr, most)))
    limit = most[mode]
    if (limit is not None and max(low, high) > max(limit, 0)) or (mode == "edge" and size == 0 < low + high):
        required = f"at most {limit} a side" if size else "an element to repeat"
        raise InvalidShape(f"padding in mode {mode!r}", got=(low, high), required=required)
    at = np.arange(-low, size + high)
    before, after = at < 0, at >= size
    if mode == "reflect":
        return np.where(before, -at, np.where(after, 2 * (size - 1) - at, at))
    if mode == "symmetric":
        return np.where(before, -at - 1, np.where(after, 2 * size - 1 - at, at))
    if mode == "edge":
        return np.clip(at, 0, size - 1)
    if mode == "wrap":
        return at % size if size else at
    return np.where(before | after, -1, at)
