"""Images of another size: nearest, linear and cubic interpolation, with every convention an attribute.

Along one axis of n elements, output o of m looks at the coordinate

    half_pixel       c = (o + 1/2) n / m - 1/2
    align_corners    c = o (n - 1) / (m - 1), and 0 where m is 1
    asymmetric       c = o n / m

a rational number, so that its floor and its ties are exact here. "nearest" takes the element at the rounded
coordinate; "linear" and "cubic" weigh the elements p around it by k(c - p), k the triangle 1 - |d| or Keys' kernel

    (a + 2) |d|^3 - (a + 3) |d|^2 + 1                  for |d| <= 1
    a (|d|^3 - 5 |d|^2 + 8 |d| - 4)                    for 1 <= |d| <= 2

(Keys, Cubic convolution interpolation for digital image processing, 1981; he derives a = -1/2). An element beyond the
edge is the edge's own ("clamp"), or is left out and the other weights are divided by their sum ("renormalize"). An
image is resized along rows and columns one after the other, in either order.

Where an axis shrinks, `antialias` widens the kernel to k((c - p) m / n) over all elements that it then reaches, and
divides the weights by their sum, which is no longer 1 by itself; at the edge it is "clamp" or "renormalize" as above.
An axis that grows is left as it is, but for the division. (The triangle of width n / m is Pillow's, and what PyTorch,
TensorFlow and JAX compute under that name, renormalized.)

"area" is the mean over [o n / m, (o + 1) n / m]: an element weighs the share of it that lies there, or, where `cover`
is "whole", as much as any other that has a part in it.

How far an honest computation may be off. It has the coordinate in floating point, from a rounded ratio r, hence a few
roundings of numbers of that size. JAX's formula has the most, (o + 1/2) s - t s - 1/2, with s the rounded reciprocal
of a rounded ratio and t rounded from (1 - 1/r) / 2: 3 roundings of the first product, 4 of the second, one of either
difference; with t s <= (r + 1) / 2 these are 6 ((o + 1) r + 1/2) u at most. The kernel and, but for the triangle, its
slope are continuous, so that a weight is off by as much times the slope, also where the coordinate falls on the other
side of an element; and the kernel's own roundings, by Horner's rule, come on top. With weights off by e u each,

    sum of |w1 w2 x| m u  +  (|w1| e2 + e1 |w2|) |x| u   <=   m u (|w1| + e1 / m) (|w2| + e2 / m) |x|

so that the bound is that of m roundings with larger weights, and as separable as the operator. Coordinates are
computed in float32 or wider, whatever the data is; so an element gets a weight by an error of the coordinate only
where it is that close to the end of the kernel's reach.

A widened kernel is evaluated at (c - p) / r: the coordinate's error is divided by r, and the difference, the ratio,
its reciprocal and the product round four times. The ends of an area are two coordinates, and their difference is
divided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_counts, require_shape
from conformance.reference.sliding import positions

METHODS = ("nearest", "linear", "cubic", "area")
COORDINATES = ("half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("floor", "ceil", "half_up", "half_down")
EDGES = ("clamp", "renormalize")
COVERS = ("share", "whole")

# Of the coordinate, see above.
COORDINATE_ROUNDINGS = 6
COORDINATE_UNIT = 2.0**-24

# Elements that a kernel reaches on either side.
REACH = {"linear": 1, "cubic": 2}

# a + (b - a) t has three roundings beside t's own, of |a| and |b| whatever their weights.
LINEAR_ROUNDINGS = 4.0

# Of the distance in a widened kernel, and of a share of an area, see above.
WIDENED_ROUNDINGS = 4.0

# The cubic's second derivative is largest at 0 and 1: 2 (a + 3) and 4 a + 6, at most 6.
CURVATURE = 6.0

# Coefficients that are multiples of this have products with 5 and 8 without roundings in any format.
COARSE = 2.0**-4

# What a gradient's term passes beside the additions: two weights stored, two products, a sum begun at zero.
GRADIENT_ROUNDINGS = 5


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis: output o is the sum over p of weights[o, p] times element p.

    Attributes:
        weights: (outputs, size).
        errors: how far a weight may be off, in unit roundoffs, the same shape.
        roundings: what one term of an output passes through.
    """

    weights: Array
    errors: Array
    roundings: int


def forward(
    *,
    x: Array,
    size: Sequence[int],
    method: str,
    coordinates: str,
    rounding: str,
    coefficient: float,
    edge: str,
    antialias: bool = False,
    cover: str = "share",
) -> Outputs:
    """Resizes.

    Args:
        x: (batch, *spatial, channels), one to three spatial axes without an empty one; the batch may be 0.
        size: the output's spatial sizes.
        method: "nearest", "linear", "cubic" or "area".
        coordinates: "half_pixel", "align_corners" or "asymmetric".
        rounding: of nearest: "floor", "ceil", or to the next integer with ties "half_up" or "half_down".
        coefficient: of cubic, a, between -1 and 0.
        edge: of cubic and of antialias: "clamp" or, where no coordinate is half an element beyond the edge,
            "renormalize".
        antialias: of linear and cubic at half pixels: the kernel is widened where an axis shrinks.
        cover: of area: "share" or "whole".

    Returns:
        "output", (batch, *size, channels).

    Raises:
        InvalidShape: shapes and attributes do not fit, or an attribute is out of range.
    """
    _check(x, size, method, coordinates, rounding, coefficient, edge, antialias, cover)
    output = np.asarray(x, np.float64)
    for axis, (n, m) in enumerate(zip(x.shape[1:-1], size, strict=True), start=1):
        if method == "nearest":
            output = output.take(_nearest(n, m, coordinates, rounding), axis=axis)
        else:
            output = _applied(
                _axis(n, m, method, coordinates, coefficient, edge, antialias, cover).weights, output, axis
            )
    return {"output": output}


def vjp(
    cotangents: Outputs,
    *,
    x: Array,
    size: Sequence[int],
    method: str,
    coordinates: str,
    rounding: str,
    coefficient: float,
    edge: str,
    antialias: bool = False,
    cover: str = "share",
) -> Gradients:
    """Gives every element its cotangents times its weights; arguments and errors as for `forward`."""
    _check(x, size, method, coordinates, rounding, coefficient, edge, antialias, cover)
    gradient = require_shape("the cotangent of output", cotangents["output"], (x.shape[0], *size, x.shape[-1]))
    for axis, (n, m) in enumerate(zip(x.shape[1:-1], size, strict=True), start=1):
        if method == "nearest":
            weights = _chosen(n, m, coordinates, rounding)
        else:
            weights = _axis(n, m, method, coordinates, coefficient, edge, antialias, cover).weights
        gradient = _applied(weights.T, gradient, axis)
    return {"x": gradient}


def magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    size: Sequence[int],
    method: str,
    coordinates: str,
    rounding: str,
    coefficient: float,
    edge: str,
    antialias: bool = False,
    cover: str = "share",
) -> Magnitudes:
    """The bound of the module's docstring; nearest moves elements, and adds up in its gradient alone."""
    _check(x, size, method, coordinates, rounding, coefficient, edge, antialias, cover)
    shape = (x.shape[0], *size, x.shape[-1])
    pairs = list(zip(x.shape[1:-1], size, strict=True))
    gradients: dict[str, Magnitude] = {}
    if method == "nearest":
        chosen = [_chosen(n, m, coordinates, rounding) for n, m in pairs]
        if cotangents is not None:
            absolute = np.abs(require_shape("the cotangent of output", cotangents["output"], shape))
            for axis, one in enumerate(chosen, start=1):
                absolute = _applied(one.T, absolute, axis)
            seen = np.broadcast_to(positions([one.sum(axis=0) for one in chosen]), x.shape)
            gradients["x"] = Magnitude(terms=np.maximum(seen - 1, 0), absolute=absolute, underflow=seen)
        return Magnitudes(outputs={"output": exact(np.broadcast_to(0.0, shape))}, gradients=gradients)
    axes = [_axis(n, m, method, coordinates, coefficient, edge, antialias, cover) for n, m in pairs]
    roundings = sum(along.roundings for along in axes)
    absolute = np.abs(np.asarray(x, np.float64))
    for axis, along in enumerate(axes, start=1):
        absolute = _applied(np.abs(along.weights) + along.errors / roundings, absolute, axis)
    output = Magnitude(terms=np.asarray(float(roundings)), absolute=absolute, underflow=np.asarray(float(roundings)))
    if cotangents is not None:
        absolute = np.abs(require_shape("the cotangent of output", cotangents["output"], shape))
        counts = [(along.errors > 0).sum(axis=0) for along in axes]
        # No element passes through fewer roundings than these, so the errors may be shared among them.
        fewest = prod(int(count.min()) for count in counts) + GRADIENT_ROUNDINGS
        for axis, along in enumerate(axes, start=1):
            absolute = _applied((np.abs(along.weights) + along.errors / fewest).T, absolute, axis)
        terms = np.broadcast_to(positions(counts) + GRADIENT_ROUNDINGS, x.shape)
        gradients["x"] = Magnitude(terms=terms, absolute=absolute, underflow=terms)
    return Magnitudes(outputs={"output": output}, gradients=gradients)


def _coordinates(n: int, m: int, coordinates: str) -> tuple[Array, int]:
    """The coordinates of an axis, as integers over one denominator."""
    outputs = np.arange(m, dtype=np.int64)
    if coordinates == "half_pixel":
        return (2 * outputs + 1) * n - m, 2 * m
    if coordinates == "asymmetric":
        return outputs * n, m
    return outputs * (n - 1), max(m - 1, 1)


def _nearest(n: int, m: int, coordinates: str, rounding: str) -> Array:
    """The element that each output takes."""
    above, below = _coordinates(n, m, coordinates)
    if rounding == "floor":
        place = above // below
    elif rounding == "ceil":
        place = -(-above // below)
    elif rounding == "half_up":
        place = (2 * above + below) // (2 * below)
    else:
        place = -((below - 2 * above) // (2 * below))
    return np.asarray(np.clip(place, 0, n - 1))


def _chosen(n: int, m: int, coordinates: str, rounding: str) -> Array:
    """(outputs, size): 1 where an output takes an element."""
    return np.asarray(_nearest(n, m, coordinates, rounding)[:, None] == np.arange(n), np.float64)


def _axis(
    n: int, m: int, method: str, coordinates: str, coefficient: float, edge: str, antialias: bool, cover: str
) -> _Axis:
    if method == "area":
        return _area(n, m, cover)
    above, below = _coordinates(n, m, coordinates)
    widened = antialias and n > m
    width = n / m if widened else 1.0
    reach = -(-REACH[method] * n // m) if widened else REACH[method]
    places = (above // below)[:, None] + np.arange(-reach, reach + 2)
    # From the exact remainder, so that a weight loses nothing where the coordinate is large.
    distance = np.abs((above % below / below)[:, None] - np.arange(-reach, reach + 2)) / width
    astray = _astray(n, m, coordinates) / width + (WIDENED_ROUNDINGS * distance if widened else 0.0)
    if method == "linear":
        weights, off = np.maximum(1 - distance, 0.0), astray + LINEAR_ROUNDINGS
    else:
        weights, slope, evaluated = _cubic(distance, coefficient)
        off = astray * (slope + CURVATURE * COORDINATE_UNIT * astray) + evaluated
    off = np.where(distance <= REACH[method] + COORDINATE_UNIT * astray, off, 0.0)
    renormalized = edge == "renormalize" and (antialias or method == "cubic")
    if renormalized:
        inside = (places >= 0) & (places < n)
        weights, off = np.where(inside, weights, 0.0), np.where(inside, off, 0.0)
    if renormalized or antialias:
        weights, off = _divided(weights, off)
    kept, errors = np.zeros((m, n)), np.zeros((m, n))
    np.add.at(kept, (np.arange(m)[:, None], np.clip(places, 0, n - 1)), weights)
    np.add.at(errors, (np.arange(m)[:, None], np.clip(places, 0, n - 1)), off)
    # A weight is stored, multiplies, and its product is added to those of the other elements.
    return _Axis(kept, errors, places.shape[1] + 1)


def _astray(n: int, m: int, coordinates: str) -> Array:
    """How many unit roundoffs the coordinate of each output may be off, (outputs, 1)."""
    ratio = (n - 1) / max(m - 1, 1) if coordinates == "align_corners" else n / m
    return COORDINATE_ROUNDINGS * ((np.arange(m, dtype=np.float64)[:, None] + 1) * ratio + 0.5)


def _divided(weights: Array, off: Array) -> tuple[Array, Array]:
    """Weights over the sum of each output's, and their errors.

    A quotient's relative error: those of the weights that are added, of the additions, and of the division.
    """
    total = weights.sum(axis=1, keepdims=True)
    weights = weights / total
    additions = weights.shape[1] * np.abs(weights).sum(axis=1, keepdims=True)
    off = off / total
    return weights, off + np.abs(weights) * (off.sum(axis=1, keepdims=True) + additions + 1)


def _area(n: int, m: int, cover: str) -> _Axis:
    """What lies in [o n / m, (o + 1) n / m], in whole numbers: both are multiplied by m."""
    outputs, elements = np.arange(m, dtype=np.int64)[:, None], np.arange(n, dtype=np.int64)
    covered = np.minimum((outputs + 1) * n, (elements + 1) * m) - np.maximum(outputs * n, elements * m)
    if cover == "whole":
        weights = np.where(covered > 0, 1.0, 0.0)
        weights = weights / weights.sum(axis=1, keepdims=True)
        # The sum of whole elements is divided by their number, or each of them is multiplied by its reciprocal.
        return _Axis(weights, WIDENED_ROUNDINGS * weights, int((covered > 0).sum(axis=1).max()) + 1)
    # A rounded end may take a little of an element that it should only touch; an element with no end in it is 1.
    touched = covered >= 0
    ends = [(elements * m <= end) & (end <= (elements + 1) * m) for end in (outputs * n, (outputs + 1) * n)]
    weights = np.where(touched, covered / n, 0.0)
    off = touched * (ends[0] * 1.0 + ends[1]) * _astray(n, m, "asymmetric") * m / n + WIDENED_ROUNDINGS * weights
    # Divided by the ratio, or by the sum of the shares.
    return _Axis(*_divided(weights, off), int(touched.sum(axis=1).max()) + 1)


def _cubic(d: Array, a: float) -> tuple[Array, Array, Array]:
    """Keys' kernel, its slope's absolute value, and how many unit roundoffs its evaluation may be off."""
    rounded = 0.0 if (a / COARSE).is_integer() else 1.0
    inner, inner_off = _horner((a + 2, -(a + 3), 0.0, 1.0), d, rounded)
    outer, outer_off = _horner((a, -5 * a, 8 * a, -4 * a), d, rounded)
    near = d <= 1
    weights = np.where(near, inner, np.where(d < 2, outer, 0.0))
    slope = np.where(near, (3 * (a + 2) * d - 2 * (a + 3)) * d, np.where(d < 2, a * ((3 * d - 10) * d + 8), 0.0))
    # Close to 1 an honest computation may take either piece.
    off = np.where(near, inner_off, outer_off)
    off = np.where(np.abs(d - 1) < COARSE, np.maximum(inner_off, outer_off), off)
    return weights, np.abs(slope), off


def _horner(coefficients: Sequence[float], d: Array, rounded: float) -> tuple[Array, Array]:
    """A polynomial, highest first, and its running error in unit roundoffs (Higham, algorithm 5.1).

    Every step rounds a product and a sum, and with `rounded` its coefficient.
    """
    value = np.full(d.shape, coefficients[0])
    off = np.abs(value) * rounded
    for coefficient in coefficients[1:]:
        product = value * d
        value = product + coefficient
        off = off * d + np.abs(product) + np.abs(value) + abs(coefficient) * rounded
    return value, off


def _applied(matrix: Array, data: Array, axis: int) -> Array:
    """The matrix times every line along an axis."""
    return np.ascontiguousarray(np.moveaxis(np.tensordot(matrix, data, axes=(1, axis)), 0, axis))


def _check(
    x: Array,
    size: Sequence[int],
    method: str,
    coordinates: str,
    rounding: str,
    coefficient: float,
    edge: str,
    antialias: bool,
    cover: str,
) -> None:
    if not 3 <= x.ndim <= 5:
        raise InvalidShape("axes of x", got=x.ndim, required="3 to 5: batch, one to three spatial axes, channels")
    require_counts("size", size, rank=x.ndim - 2)
    if not all(x.shape[1:-1]):
        raise InvalidShape("spatial sizes of x", got=x.shape[1:-1], required="at least one element an axis")
    for name, value, allowed in (
        ("method", method, METHODS),
        ("coordinates", coordinates, COORDINATES),
        ("rounding", rounding, ROUNDINGS),
        ("edge", edge, EDGES),
        ("cover", cover, COVERS),
    ):
        if value not in allowed:
            raise InvalidShape(name, got=repr(value), required=f"one of {', '.join(allowed)}")
    if not -1 <= coefficient <= 0:
        raise InvalidShape("coefficient", got=coefficient, required="between -1 and 0")
    if (method, coordinates, edge) == ("cubic", "asymmetric", "renormalize"):
        raise InvalidShape("edge", got="renormalize with asymmetric", required="clamp: no weight may be left at all")
    if antialias and method not in REACH:
        raise InvalidShape("antialias", got=f"of {method}", required="a kernel that is widened: linear or cubic")
    if (antialias or method == "area") and coordinates != "half_pixel":
        raise InvalidShape("coordinates", got=coordinates, required="half_pixel, of which what is covered is made")
