"""Power pooling: the p-norm of windows, p 1, 2 or 3, with zeros where a window reaches into the padding.

    p = 1, signed       y = sum of x             (PyTorch's lp_pool2d, which takes x to the power of p as it is)
    p = 1               y = sum of |x|           (the norm; ONNX's LpPool)
    p = 2               y = sqrt(sum of x^2)     (the same either way)
    p = 3, signed       y = (sum of x^3)^(1/3)   (PyTorch's; NaN where the sum is negative)
    p = 3               y = (sum of |x|^3)^(1/3) (the norm; ONNX's LpPool)

The derivative at a window of zeros is 0, and so is that of |x| at 0.

The bound with p 3. Let s be the sum of n cubes, S that of their absolute values, k = S / |s| (1 where no sign is
kept), and m = n + 19 + |ln s| / 3 roundings: n - 1 additions, 8 for a cube, 2 for a mean that is multiplied back, 8
for the power of 1/3, as many as its exponent's own rounding costs, s^(d / 3) being off by |ln s| d / 3, and 2 for the
logarithm of the sum as it was computed. For sums s and s' of one sign |s'^(1/3) - s^(1/3)| <= |s' - s| / s^(2/3), so
that y is off by gamma_m k y = gamma_m S / y^2. The gradient g x^2 / y^2 divides by two factors of y, or by s^(2/3),
each off by gamma_(m k): with a = m k u that is a factor of ((1 - a) / (1 - 2 a))^2 at most, and that less 1 is below
gamma_(4 m k). What j flushed cubes lack in s is j eta / y^2 in y, and 2 j eta |g| x^2 / y^5 in the gradient.
"""

from collections.abc import Sequence

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs
from conformance.reference.padding import InvalidShape, Padding, Window, require_shape, windows
from conformance.reference.sliding import positions, taps

# Beside a sum's additions: a square, a division by the window's size and its multiplication back, as PyTorch has it
# (2), a power of 1/2 (8: the logarithm's worth of a function that is no square root).
NORM_ROUNDINGS = 11

# The same where the power is 3 and not a product; the module counts them.
CUBE_ROUNDINGS = 19

# The gradient of the above by the chain rule: the norm's, and x / y as a handful of factors of its own (2 x, 1/2, a
# power of -1/2 (8), the sign, the window's size twice, the cotangent).
GRADIENT_ROUNDINGS = 16


def forward(
    *, x: Array, window: Sequence[int], stride: Sequence[int], padding: Padding, p: int, signed: bool
) -> Outputs:
    """Takes the norm of each window.

    Args:
        x: (N, H, W, C); the batch may be 0.
        window: rows and columns of a window.
        stride: positions between neighbouring windows, one number an axis.
        padding: "same", "same_lower", "valid" or (low, high) pairs, see `padding.windows`.
        p: 1, 2 or 3.
        signed: whether x keeps its sign where p is odd.

    Returns:
        "output", (N, rows, columns, C).

    Raises:
        InvalidShape: shapes and attributes do not fit each other, no window fits, or p is another number.
    """
    over = _windows(x, window, stride, padding, p)
    return {"output": _norms(x, over, p, signed)}


def vjp(
    cotangents: Outputs,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    p: int,
    signed: bool,
) -> Gradients:
    """Gives every element its share of the windows that see it; arguments and errors as for `forward`."""
    over = _windows(x, window, stride, padding, p)
    cotangent = _cotangent(cotangents, x, over)
    if p == 1:
        total = _spread(cotangent, over)
        return {"x": total if signed else np.sign(x) * total}
    share = _spread(_over(cotangent, _norms(x, over, p, signed), p - 1), over)
    with np.errstate(invalid="ignore"):
        return {"x": x * share if p == 2 else x * x * share if signed else x * np.abs(x) * share}


def magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    p: int,
    signed: bool,
) -> Magnitudes:
    """Bounds; arguments and errors as for `forward`.

    With p 1 both are sums. With p 2 nothing cancels: the sum of squares is off by a factor of 1 + gamma_n, its root
    by less. What flushed squares lack, k eta in the sum, is at most k eta / y in the root, since
    |sqrt a - sqrt b| = |a - b| / (sqrt a + sqrt b), and k eta |g x| / y^3 in the gradient g x / y. With p 3 as the
    module derives it.
    """
    over = _windows(x, window, stride, padding, p)
    if p == 3:
        return _cubic_magnitude(cotangents, x, over, signed)
    inside = positions([along.taps_inside() for along in over])
    seen = np.broadcast_to(positions([along.outputs_seeing() for along in over]), x.shape)
    size = _norms(np.abs(x), over, p, False)
    terms = np.broadcast_to(inside + NORM_ROUNDINGS, size.shape)
    flushed = terms if p == 1 else terms + _over(terms, size, 1)
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        cotangent = np.abs(_cotangent(cotangents, x, over))
        if p == 1:
            # PyTorch divides by the window's size, multiplies by it, and takes a power of 1.
            gradient_terms, absolute = seen + GRADIENT_ROUNDINGS, _spread(cotangent, over)
            lost = gradient_terms
        else:
            gradient_terms = seen + np.max(terms, initial=0) + GRADIENT_ROUNDINGS
            absolute = np.abs(x) * _spread(_over(cotangent, size, 1), over)
            lost = gradient_terms * (1 + _spread(_over(1.0 + cotangent, size, 1), over))
            lost = lost + np.abs(x) * _spread(_over(terms * cotangent, size, 3), over)
        if p == 1 and not signed:
            absolute = np.abs(np.sign(x)) * absolute
        gradients["x"] = Magnitude(terms=gradient_terms, absolute=absolute, underflow=lost)
    return Magnitudes(
        outputs={"output": Magnitude(terms=terms, absolute=size, underflow=flushed)}, gradients=gradients
    )


@np.errstate(all="ignore")
def _cubic_magnitude(cotangents: Outputs | None, x: Array, over: Sequence[Window], signed: bool) -> Magnitudes:
    inside = positions([along.taps_inside() for along in over])
    y, size = _norms(x, over, 3, signed), _norms(np.abs(x), over, 3, False)
    exponent = np.where(size > 0, np.abs(np.log(y)), 0.0)  # |ln s| / 3
    terms = inside + CUBE_ROUNDINGS + exponent
    condition = np.where(size > 0, (size / y) ** 3, 1.0)
    output = Magnitude(
        terms=terms,
        absolute=np.where(size > 0, size * (size / y) ** 2, 0.0),
        underflow=terms + _over(terms, y, 2),
    )
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        cotangent = np.abs(_cotangent(cotangents, x, over))
        seen = np.broadcast_to(positions([along.outputs_seeing() for along in over]), x.shape)
        rounded = seen + 4 * _largest(terms * condition, over) + GRADIENT_ROUNDINGS
        lost = rounded * (1 + 3 * x * x + _spread(_over(1.0 + cotangent, y, 2), over))
        gradients["x"] = Magnitude(
            terms=rounded,
            absolute=x * x * _spread(_over(cotangent, y, 2), over),
            underflow=lost + x * x * _spread(2 * _over(terms * cotangent, y, 5), over),
        )
    return Magnitudes(outputs={"output": output}, gradients=gradients)


def _largest(number: Array, over: Sequence[Window]) -> Array:
    """The largest number of the windows that see an element; 0 where none does."""
    most = np.zeros((number.shape[0], *(along.size for along in over), number.shape[-1]))
    for _, outputs, inputs in taps(over):
        most[inputs] = np.maximum(most[inputs], number[outputs])
    return most


@np.errstate(all="ignore")
def _norms(x: Array, over: Sequence[Window], p: int, signed: bool) -> Array:
    powers = x * x if p == 2 else x if signed else np.abs(x)
    if p == 3:
        powers = powers * x * x
    sums = np.zeros((x.shape[0], *(along.outputs for along in over), x.shape[-1]))
    for _, outputs, inputs in taps(over):
        sums[outputs] += powers[inputs]
    if p == 3:
        return np.where(sums < 0, np.nan, np.cbrt(sums))
    return np.sqrt(sums) if p == 2 else sums


@np.errstate(all="ignore")
def _spread(cotangent: Array, over: Sequence[Window]) -> Array:
    """Every window's number, added to all elements that it sees."""
    total = np.zeros((cotangent.shape[0], *(along.size for along in over), cotangent.shape[-1]))
    for _, outputs, inputs in taps(over):
        total[inputs] += cotangent[outputs]
    return total


@np.errstate(all="ignore")
def _over(number: Array, norm: Array, power: int) -> Array:
    """A quotient by a power of the norm, 0 where the norm is 0."""
    return np.where(norm == 0, 0.0, number / norm**power)


def _cotangent(cotangents: Outputs, x: Array, over: Sequence[Window]) -> Array:
    shape = (x.shape[0], *(along.outputs for along in over), x.shape[-1])
    return require_shape("the cotangent of output", cotangents["output"], shape)


def _windows(x: Array, window: Sequence[int], stride: Sequence[int], padding: Padding, p: int) -> tuple[Window, ...]:
    if x.ndim != 4:
        raise InvalidShape("axes of x", got=x.ndim, required="4: batch, 2 spatial, channels")
    if p not in (1, 2, 3):
        raise InvalidShape("p", got=p, required="1, 2 or 3")
    return windows(sizes=x.shape[1:-1], kernel=window, stride=stride, dilation=(1, 1), padding=padding)
