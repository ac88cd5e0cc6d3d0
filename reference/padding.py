"""Windows: where each output of a sliding operator looks, derived by enumeration.

The exception of the whole package is here, too:

    ValueError
      InvalidShape    the operands and attributes ask a question that has no answer
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, wraps

import numpy as np

from conformance.reference.magnitude import Array

Pairs = tuple[tuple[int, int], ...]
"""Elements added before and after the data, one pair an axis."""

Padding = str | Pairs
""""same", "same_lower", "valid", or explicit pairs for the spatial axes."""


class InvalidShape(ValueError):
    """The operands and attributes ask a question that has no answer, such as a kernel larger than its padded input.

    Attributes:
        what: the operand or attribute at fault, in words.
        got: what was given.
        required: what would have been accepted, in words.
    """

    def __init__(self, what: str, *, got: object, required: str) -> None:
        """Keeps the three parts apart, so that a caller can print them in its own way."""
        super().__init__(what, got, required)
        self.what = what
        self.got = got
        self.required = required

    def __str__(self) -> str:
        """Returns the three parts in one line."""
        return f"{self.what}: got {self.got}, required {self.required}"

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuilds the exception from its three parts when it crosses a process boundary."""
        return _rebuilt, (self.what, self.got, self.required)


def _rebuilt(what: str, got: object, required: str) -> InvalidShape:
    return InvalidShape(what, got=got, required=required)


# Windows whose counts, and configurations whose windows are kept: three data sets, values and bounds share them.
KEPT = 1 << 12


def _kept(count: "Callable[[Window], Array]") -> "Callable[[Window], Array]":
    """Returns a count that is made once for each window; read-only."""

    @wraps(count)
    @lru_cache(KEPT)
    def kept(window: "Window") -> Array:
        counts = count(window)
        counts.flags.writeable = False
        return counts

    return kept


@dataclass(frozen=True, slots=True)
class Window:
    """One axis of a sliding window: tap t of output o looks at input position `o * stride + t * dilation - low`.

    A position outside `0 ... size - 1` lies in the padding.

    Attributes:
        size: elements of the input.
        outputs: windows, that is elements of the output.
        kernel: taps of a window.
        stride: positions between the first taps of neighbouring windows.
        dilation: positions between neighbouring taps.
        low: positions of padding before the input.
        high: positions of padding after the input; windows may end short of it, or (in ceil mode) reach beyond it.
    """

    size: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    low: int
    high: int

    @property
    def reach(self) -> int:
        """Positions between the first and the last tap of all windows together, both included."""
        return (self.outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1

    def seen_by(self, tap: int) -> tuple[slice, slice]:
        """Returns which outputs have the tap inside the input, and the positions they see: equally long slices."""
        offset = tap * self.dilation - self.low
        first = max(0, -(offset // self.stride))
        last = min(self.outputs - 1, (self.size - 1 - offset) // self.stride)
        if last < first:
            return slice(0, 0), slice(0, 0)
        return slice(first, last + 1), slice(
            first * self.stride + offset, last * self.stride + offset + 1, self.stride
        )

    @_kept
    def taps_inside(self) -> Array:
        """Returns how many taps of each window fall inside the input, float64 of shape (outputs,)."""
        counts = np.zeros(self.outputs)
        for tap in range(self.kernel):
            counts[self.seen_by(tap)[0]] += 1
        return counts

    @_kept
    def taps_padded(self) -> Array:
        """Returns how many taps of each window fall inside the padded input, float64 of shape (outputs,)."""
        return replace(self, size=self.low + self.size + self.high, low=0, high=0).taps_inside()

    @_kept
    def outputs_seeing(self) -> Array:
        """Returns how many pairs of window and tap look at each input position, float64 of shape (size,)."""
        counts = np.zeros(self.size)
        for tap in range(self.kernel):
            counts[self.seen_by(tap)[1]] += 1
        return counts

    @_kept
    def outputs_inside(self) -> Array:
        """Returns how many windows have each tap inside the input, float64 of shape (kernel,)."""
        seen = (self.seen_by(tap)[0] for tap in range(self.kernel))
        return np.array([outputs.stop - outputs.start for outputs in seen], dtype=np.float64)


def windows(
    *,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: Padding,
    ceil_mode: bool = False,
) -> tuple[Window, ...]:
    """Returns the windows that an operator slides over an input, one `Window` a spatial axis.

    With explicit padding ("valid" has none) every window that fits into the padded input counts; `ceil_mode` adds the
    one that begins inside but ends beyond, unless nothing but padding lies there (PyTorch's rule). With "same" a
    window begins at every `stride`-th element of the input, and the fewest padding elements that give all of them
    their taps are shared between both ends, the odd one at the high end ("same_lower": at the low end); ceil_mode has
    nothing left to add.

    Raises:
        InvalidShape: an attribute has the wrong length or is out of range, or no window fits.
    """
    pairs = padding if isinstance(padding, str) else require_pairs(padding, rank=len(sizes))
    return _windows(tuple(sizes), tuple(kernel), tuple(stride), tuple(dilation), pairs, ceil_mode)


@lru_cache(KEPT)
def _windows(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: str | Pairs,
    ceil_mode: bool,
) -> tuple[Window, ...]:
    rank = len(sizes)
    for name, values in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        require_counts(name, values, rank=rank)
    if isinstance(padding, str):
        pairs = [named_padding(padding, *axis) for axis in zip(sizes, kernel, stride, dilation, strict=True)]
        # Every window of "same" begins inside the input, as the definition has it.
        ceil_mode = ceil_mode and padding == "valid"
    else:
        pairs = list(padding)
    made = []
    for axis, (size, taps, step, spread, (low, high)) in enumerate(
        zip(sizes, kernel, stride, dilation, pairs, strict=True)
    ):
        padded = low + size + high
        span = (taps - 1) * spread + 1
        if isinstance(padding, str) and padding != "valid":
            starts = range(0, size, step)
        else:
            starts = range(0, padded - span + 1, step)
            if ceil_mode:
                starts = range(0, padded - span + step, step)
                if starts and starts[-1] >= low + size:
                    starts = starts[:-1]
        if not starts or size < 1:
            raise InvalidShape(
                f"window of {taps} taps, {spread} apart, on spatial axis {axis}",
                got=f"a padded input of {padded} elements ({low} + {size} + {high})",
                required=f"at least {span} elements, one of them no padding",
            )
        made.append(Window(size, len(starts), taps, step, spread, low, high))
    return tuple(made)


def named_padding(padding: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Returns the (low, high) padding of one axis that a named padding stands for.

    Raises:
        InvalidShape: the name is unknown.
    """
    if padding == "valid":
        return 0, 0
    if padding not in ("same", "same_lower"):
        raise InvalidShape(
            "padding", got=repr(padding), required="'same', 'same_lower', 'valid' or (low, high) pairs"
        )
    starts = range(0, size, stride)
    if not starts:
        return 0, 0
    last_tap = starts[-1] + (kernel - 1) * dilation
    missing = max(last_tap - (size - 1), 0)
    small = missing // 2
    return (small, missing - small) if padding == "same" else (missing - small, small)


def require_counts(name: str, values: Sequence[int], *, rank: int) -> None:
    """Refuses values that are not `rank` whole numbers of at least 1.

    Raises:
        InvalidShape: too few, too many, or one below 1.
    """
    if len(values) != rank or min(values, default=1) < 1:
        raise InvalidShape(name, got=tuple(values), required=f"{rank} values of at least 1")


def require_pairs(padding: Pairs, *, rank: int, negative: bool = False) -> Pairs:
    """Returns the padding unchanged if it has one (low, high) pair an axis, none of them negative unless they may be.

    Raises:
        InvalidShape: another number of pairs, a pair of another length, or a negative number.
    """
    if len(padding) != rank or any(len(pair) != 2 or (min(pair) < 0 and not negative) for pair in padding):
        what = "" if negative else ", none negative"
        raise InvalidShape("padding", got=padding, required=f"{rank} (low, high) pairs{what}")
    return padding


def require_shape(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    """Returns the array unchanged if it has the shape.

    Raises:
        InvalidShape: it has another shape.
    """
    if array.shape != shape:
        raise InvalidShape(f"shape of {name}", got=array.shape, required=str(shape))
    return array
