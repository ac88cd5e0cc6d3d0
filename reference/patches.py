"""Windows as vectors: extract_patches, and fold, which adds them up where they came from.

With the `Window` arithmetic of `padding`, tap t of output o looks at position `p = o * stride + t * dilation - low`,
and with the taps (i, j) of a window and the channels c laid out as one axis,

    extract_patches    patches[n, o, place(i, j, c)]  =  x[n, p, c], and 0 outside x
    fold               x[n, p, c]  =  sum over all o, i, j that look at p  of  patches[n, o, place(i, j, c)]

place(i, j, c) is (i * columns + j) * channels + c where channels come last (TensorFlow's extract_patches), and
(c * rows + i) * columns + j where they come first (PyTorch's unfold, JAX's conv_general_dilated_patches). Each is the
other's adjoint.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, Padding, Window, require_counts, require_shape, windows
from conformance.reference.sliding import positions, taps

ORDERS = ("channels_last", "channels_first")


def extract_patches_forward(
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    order: str,
) -> Outputs:
    """Lays every window out along the channels.

    Args:
        x: (N, H, W, C); the batch may be 0.
        window: rows and columns of a window.
        stride: positions between neighbouring windows, one number an axis.
        dilation: positions between neighbouring taps, one number an axis.
        padding: "same", "same_lower", "valid" or (low, high) pairs, see `padding.windows`; zeros stand there.
        order: of a patch's numbers: "channels_last" or "channels_first".

    Returns:
        "output", (N, rows, columns, window's elements times C).

    Raises:
        InvalidShape: shapes and attributes do not fit each other, or no window fits.
    """
    over = _windows_of(x, window, stride, dilation, padding, order)
    return {"output": _gathered(x, over, order)}


def extract_patches_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    order: str,
) -> Gradients:
    """Adds up what the windows hand back to an element; arguments and errors as for `extract_patches_forward`."""
    over = _windows_of(x, window, stride, dilation, padding, order)
    return {"x": _added(_patch_cotangent(cotangents, x, over), over, x.shape[-1], order)}


def extract_patches_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    order: str,
) -> Magnitudes:
    """Patches are exact, their gradient sums; arguments and errors as for `extract_patches_forward`."""
    over = _windows_of(x, window, stride, dilation, padding, order)
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        absolute = np.abs(_patch_cotangent(cotangents, x, over))
        gradients["x"] = _sums(_added(absolute, over, x.shape[-1], order), over)
    return Magnitudes(outputs={"output": exact(np.broadcast_to(0.0, _patch_shape(x, over)))}, gradients=gradients)


def fold_forward(
    *,
    x: Array,
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    order: str,
) -> Outputs:
    """Adds patches up to an image.

    Args:
        x: (N, rows, columns, window's elements times C), as `extract_patches_forward` makes them of an image.
        size: the image's rows and columns.
        window: rows and columns of a window.
        stride: positions between neighbouring windows, one number an axis.
        dilation: positions between neighbouring taps, one number an axis.
        padding: of the image; what falls into it is left out.
        order: of a patch's numbers: "channels_last" or "channels_first".

    Returns:
        "output", (N, *size, C).

    Raises:
        InvalidShape: the patches are not as many or as long as the attributes say, or no window fits.
    """
    over, channels = _folds_of(x, size, window, stride, dilation, padding, order)
    return {"output": _added(x, over, channels, order)}


def fold_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    order: str,
) -> Gradients:
    """Extracts the cotangent's patches; arguments and errors as for `fold_forward`."""
    over, channels = _folds_of(x, size, window, stride, dilation, padding, order)
    shape = (x.shape[0], *size, channels)
    return {"x": _gathered(require_shape("the cotangent of output", cotangents["output"], shape), over, order)}


def fold_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    order: str,
) -> Magnitudes:
    """Sums, whose gradient is exact; arguments and errors as for `fold_forward`."""
    over, channels = _folds_of(x, size, window, stride, dilation, padding, order)
    output = _sums(_added(np.abs(x), over, channels, order), over)
    return Magnitudes(outputs={"output": output}, gradients={} if cotangents is None else {"x": exact(x)})


def _sums(absolute: Array, over: Sequence[Window]) -> Magnitude:
    """The magnitude of an image of sums: as many terms as windows see the pixel."""
    seen = np.broadcast_to(positions([along.outputs_seeing() for along in over]), absolute.shape)
    return Magnitude(terms=np.maximum(seen - 1, 0), absolute=absolute, underflow=seen)


def _gathered(x: Array, over: Sequence[Window], order: str) -> Array:
    kernel = tuple(along.kernel for along in over)
    patches = np.zeros((x.shape[0], *(along.outputs for along in over), *kernel, x.shape[-1]))
    for tap, outputs, inputs in taps(over):
        patches[outputs + tap] = x[inputs]
    if order == "channels_first":
        patches = np.moveaxis(patches, -1, 3)
    return patches.reshape(_patch_shape(x, over))


def _added(patches: Array, over: Sequence[Window], channels: int, order: str) -> Array:
    rows, columns = (along.kernel for along in over)
    if order == "channels_first":
        split = np.moveaxis(patches.reshape(*patches.shape[:3], channels, rows, columns), 3, -1)
    else:
        split = patches.reshape(*patches.shape[:3], rows, columns, channels)
    image = np.zeros((patches.shape[0], *(along.size for along in over), channels))
    with np.errstate(invalid="ignore", over="ignore"):
        for tap, outputs, inputs in taps(over):
            image[inputs] += split[outputs + tap]
    return image


def _patch_shape(x: Array, over: Sequence[Window]) -> tuple[int, ...]:
    taps_of_all = prod(along.kernel for along in over)
    return (x.shape[0], *(along.outputs for along in over), taps_of_all * x.shape[-1])


def _patch_cotangent(cotangents: Outputs, x: Array, over: Sequence[Window]) -> Array:
    return require_shape("the cotangent of output", cotangents["output"], _patch_shape(x, over))


def _windows_of(
    x: Array, window: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Padding, order: str
) -> tuple[Window, ...]:
    _check(x, order)
    return windows(sizes=x.shape[1:-1], kernel=window, stride=stride, dilation=dilation, padding=padding)


def _folds_of(
    x: Array,
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    order: str,
) -> tuple[tuple[Window, ...], int]:
    """The windows that look at the image, and its channels."""
    _check(x, order)
    require_counts("size", size, rank=2)
    over = windows(sizes=size, kernel=window, stride=stride, dilation=dilation, padding=padding)
    counts = tuple(along.outputs for along in over)
    if x.shape[1:-1] != counts:
        raise InvalidShape("patches of x", got=x.shape[1:-1], required=f"{counts}, as many as an image of {size} has")
    elements = prod(along.kernel for along in over)
    if x.shape[-1] % elements:
        raise InvalidShape("channels of x", got=x.shape[-1], required=f"a multiple of the window's {elements}")
    return over, x.shape[-1] // elements


def _check(x: Array, order: str) -> None:
    if x.ndim != 4:
        raise InvalidShape("axes of x", got=x.ndim, required="4: batch, 2 spatial, channels")
    if order not in ORDERS:
        raise InvalidShape("order", got=repr(order), required=f"one of {', '.join(ORDERS)}")
