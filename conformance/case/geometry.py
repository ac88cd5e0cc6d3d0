"""Sizes, pads and windows of sliding operators, in closed form.

The adapters, the plan and the drawings use this module; the reference enumerates windows from the definition in its
own `padding.py`, and a property test compares the two.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Final, Literal

from conformance.case.model import Shape
from conformance.errors import ImpossibleShape

Pads = tuple[tuple[int, int], ...]
Padding = Literal["same", "same_lower", "valid"] | Pads


def extent(kernel: int, dilation: int) -> int:
    """How many input elements a kernel spans: (k - 1) d + 1."""
    return (kernel - 1) * dilation + 1


def resolve_pads(
    padding: Padding, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Pads:
    """The pads (low, high) of every spatial axis.

    SAME is TensorFlow's: as many windows as strides fit into the input, ceil(n / s), and the odd pixel at the high
    end (`same_lower`: at the low end). The total depends on the stride.

    Raises:
        ImpossibleShape: if SAME is asked with a stride or dilation less than 1.
    """
    if padding == "valid":
        return tuple((0, 0) for _ in sizes)
    if isinstance(padding, tuple):
        return padding
    if min((*stride, *dilation), default=1) < 1:
        raise ImpossibleShape(f"strides and dilations must be at least 1, got {tuple(stride)} and {tuple(dilation)}")
    pads = []
    for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + extent(k, d) - n, 0)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if padding == "same" else (more, less))
    return tuple(pads)


def window_count(
    sizes: Sequence[int],
    pads: Pads,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    *,
    ceil_mode: bool = False,
) -> Shape:
    """How many windows each axis takes: floor((n + low + high - extent) / s) + 1.

    With `ceil_mode` the last window may hang over the end, as long as it starts inside the input or the low pad
    (PyTorch's rule); so there is one even where the window spans a little more than the padded input.

    Raises:
        ImpossibleShape: if a kernel, stride or dilation is less than 1, or a kernel spans more than the padded input.
    """
    counts = []
    for axis, (n, (low, high), k, s, d) in enumerate(zip(sizes, pads, kernel, stride, dilation, strict=True)):
        for name, value in (("kernel size", k), ("stride", s), ("dilation", d)):
            if value < 1:
                raise ImpossibleShape(f"spatial axis {axis}: {name} must be at least 1, got {value}")
        free = n + low + high - extent(k, d)
        count = free // s + 1
        if ceil_mode:
            count = -(-free // s) + 1
            if (count - 1) * s >= n + low:
                count -= 1
        if count < 1:
            raise ImpossibleShape(
                f"spatial axis {axis}: the kernel spans {extent(k, d)} elements, "
                f"the padded input has only {n + low + high}"
            )
        counts.append(count)
    return tuple(counts)


def covering_pads(
    sizes: Sequence[int],
    pads: Pads,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    *,
    ceil_mode: bool = False,
) -> Pads:
    """The pads that reach just to the end of the last window: less than the given ones, or in `ceil_mode` more.

    Raises:
        ImpossibleShape: as `window_count` does.
    """
    counts = window_count(sizes, pads, kernel, stride, dilation, ceil_mode=ceil_mode)
    return tuple(
        (low, max((count - 1) * s + extent(k, d) - n - low, 0))
        for count, s, k, d, n, (low, _) in zip(counts, stride, kernel, dilation, sizes, pads, strict=True)
    )


def transposed_crop(
    padding: Padding,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
) -> tuple[Shape, Shape]:
    """Where the result of a transposed convolution starts on its canvas, and its size, by axis.

    The canvas holds the kernel, scaled and placed at every stride, overlaps added: (n - 1) s + extent elements. VALID
    keeps n s + max(extent - s, 0) (zeros follow where strides leave gaps), SAME keeps n s of them, cropping the odd
    element at the high end; explicit pads crop both ends, and output padding extends the high one.

    Raises:
        ImpossibleShape: if a stride, dilation or kernel is less than 1, output padding comes without explicit pads or
            is not smaller than the stride or dilation, or nothing is left.
    """
    starts, outputs = [], []
    for axis, (n, k, s, d, more) in enumerate(zip(sizes, kernel, stride, dilation, output_padding, strict=True)):
        for name, value in (("kernel size", k), ("stride", s), ("dilation", d)):
            if value < 1:
                raise ImpossibleShape(f"spatial axis {axis}: {name} must be at least 1, got {value}")
        overlap = max(extent(k, d) - s, 0)
        if isinstance(padding, tuple):
            low, high = padding[axis]
            if not 0 <= more < max(s, d):
                raise ImpossibleShape(
                    f"spatial axis {axis}: output padding must be below the stride or the dilation "
                    f"({max(s, d)}) and not negative, got {more}"
                )
            start, size = low, (n - 1) * s + extent(k, d) - low - high + more
        elif more:
            raise ImpossibleShape(f"output padding goes with explicit pads, got {more} with {padding!r}")
        elif padding == "valid":
            start, size = 0, n * s + overlap
        else:
            start, size = (overlap // 2 if padding == "same" else overlap - overlap // 2), n * s
        if size < 1:
            raise ImpossibleShape(f"spatial axis {axis}: the pads crop everything, {size} elements are left")
        starts.append(start)
        outputs.append(size)
    return tuple(starts), tuple(outputs)


def sized_pads(
    padding: Padding,
    output_size: Sequence[int],
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Pads, Shape]:
    """The explicit pads and the output padding with which a transposed convolution has a size that was asked for.

    The size is that of an image in which the convolution, padded so, has as many windows as there are elements.
    SAME's pads are those of that image; pads that are explicit, and VALID's that are none, stay, and what the size
    exceeds theirs by is output padding.

    Raises:
        ImpossibleShape: if a stride, dilation or kernel is less than 1, or the convolution has another number of
            windows in an image of that size.
    """
    pads, extra = [], []
    for axis, (m, n, k, s, d) in enumerate(zip(output_size, sizes, kernel, stride, dilation, strict=True)):
        for name, value in (("output size", m), ("kernel size", k), ("stride", s), ("dilation", d)):
            if value < 1:
                raise ImpossibleShape(f"spatial axis {axis}: {name} must be at least 1, got {value}")
        canvas = (n - 1) * s + extent(k, d)
        if padding in ("same", "same_lower"):
            least, most = (n - 1) * s + 1, n * s
            total = max(canvas - m, 0)
            low = total // 2 if padding == "same" else total - total // 2
            high, more = total - low, max(m - canvas, 0)
        else:
            low, high = padding[axis] if isinstance(padding, tuple) else (0, 0)
            least = canvas - low - high
            most = least + s - 1
            more = m - least
        if not least <= m <= most:
            raise ImpossibleShape(
                f"spatial axis {axis}: {n} windows in strides of {s} fit into {least} to {most} elements, got {m}"
            )
        pads.append((low, high))
        extra.append(more)
    return tuple(pads), tuple(extra)


_HALF: Final = Fraction(1, 2)


def nearest_places(n: int, m: int, coordinates: str, rounding: str) -> tuple[int, ...]:
    """The element of n that each output of m takes when an axis is resized to its nearest elements."""
    places = []
    for o in range(m):
        at = Fraction(o * (n - 1), max(m - 1, 1))
        if coordinates == "asymmetric":
            at = Fraction(o * n, m)
        elif coordinates == "half_pixel":
            at = (o + _HALF) * n / m - _HALF
        rounded = {
            "floor": floor(at),
            "ceil": ceil(at),
            "half_up": floor(at + _HALF),
            "half_down": ceil(at - _HALF),
        }[rounding]
        places.append(min(max(rounded, 0), n - 1))
    return tuple(places)


def adaptive_spans(n: int, m: int) -> Pads:
    """Where each of m windows that cover n elements begins, and before which one it ends."""
    return tuple((o * n // m, -(-(o + 1) * n // m)) for o in range(m))
