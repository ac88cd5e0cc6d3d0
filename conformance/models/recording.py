"""What a pass leaves behind: records of layers, whatever the framework's tensors are.

A layer's input is tapped, copied for it alone, so that its gradient is this layer's and not the sum over all that
read the tensor; its output is tapped before anybody reads it, so that its cotangent is the whole one and nothing
that is done in place later can reach it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.geometry import Pads, extent
from conformance.models.moving import Moves

# A framework's tensor: nothing here looks inside.
Native = Any

# Not an operator of the house: rows and columns cut off, which become what a transposed convolution crops.
CROP: Final = "crop"
PADDED_WITH_ZEROS: Final = "maximum padded with 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What one native call is: an operator, its attributes, and which of its tensors is which operand.

    Attributes:
        operands: tensors by operand.
        images: they have channels first where the framework has; else axes are as they are.
        reading: as in `TracedLayer`.
        squeezed: the output keeps spatial axes of size 1 that the house's operator has not.
        kernel: the kernel's spatial sides, where there is one.
        depthwise: the kernel has an axis of channels and one of those that each makes, for (1, out).
        moves: what leads from a parameter, as the model keeps it, to the operand; nothing where none are told.
    """

    operator: str
    operands: Mapping[str, Native]
    attributes: Any = field(default_factory=NoAttributes)
    images: bool = False
    reading: str = ""
    squeezed: bool = False
    kernel: tuple[int, ...] = ()
    depthwise: bool = False
    moves: Mapping[str, Moves] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crop:
    """Attributes of `CROP`: how much is cut off every spatial axis."""

    pads: Pads


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """A call as it happened.

    Attributes:
        output: as the layer gave it, before anybody read it.
        parameters: native names by operand.
        read: the tensors that were read, before they were tapped; in the order of the operands.
        handed: what the rest of the model was given for the output.
        last: as in `TracedLayer`.
        statistics: what it keeps for the next call, by the operand whose place that takes.
    """

    name: str
    native: str
    call: Call
    output: Native
    parameters: Mapping[str, str]
    read: tuple[Native, ...]
    handed: Native
    last: str = ""
    statistics: Mapping[str, Native] = field(default_factory=dict)


class Names:
    """Unique names of layers in the order in which they run: `block`, `block#2`."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def next(self, name: str) -> str:
        """The name, with a number if it was given before."""
        self._seen[name] = count = self._seen.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"


def folded(records: list[Record]) -> list[Record]:
    """Recipes of two layers as the one operator that they are.

    Zeros around an image and then a convolution without padding are a convolution with pads, as minus infinity is
    around a maximum; with zeros a maximum is read in another way, which has a name. A transposed convolution whose
    result is cropped is one with pads. Only where nobody else reads what lies between.
    """
    readers: dict[int, int] = {}
    for record in records:
        for tensor in record.read:
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    found: list[Record] = []
    for record in records:
        before = next((each for each in found if record.read and each.handed is record.read[0]), None)
        alone = before is not None and readers[id(before.handed)] == 1
        joined = _joined(before, record) if before is not None and alone else None
        if joined is None or before is None:
            found.append(record)
        else:
            found[found.index(before)] = joined
    return found


def _joined(before: Record, record: Record) -> Record | None:
    a, b = before.call.attributes, record.call.attributes
    if isinstance(a, Pad) and isinstance(b, (Convolution, MaxPool, AveragePool)) and b.padding == "valid":
        joined = _padded(a, b)
        if joined is not None:
            attributes, reading = joined
            operands = {**record.call.operands, "x": before.call.operands["x"]}
            call = replace(record.call, attributes=attributes, operands=operands, reading=reading)
            return replace(record, call=call, read=before.read, native=f"{before.native} + {record.native}")
    if isinstance(a, TransposedConvolution) and isinstance(b, Crop):
        cropped = _cropped(before, a, b.pads)
        if cropped is not None:
            return replace(
                before,
                call=replace(before.call, attributes=cropped),
                output=record.output,
                handed=record.handed,
                last=record.name,
                native=f"{before.native} + {record.native}",
            )
    return None


def _padded(pad: Pad, attributes: Any) -> tuple[Any, str] | None:
    """What slides over a padded image, as what pads it itself, and the name of how it is read."""
    pads = pad.padding[1:-1]
    if pad.mode != "constant" or any(pad.padding[0]) or any(pad.padding[-1]) or pad.value not in (0.0, -math.inf):
        return None
    if isinstance(attributes, Convolution):
        return (replace(attributes, padding=pads), "") if pad.value == 0 else None
    # The house's pools have pads of half a window at most, and no last window that hangs over them.
    if attributes.ceil_mode or any(2 * max(pair) > n for pair, n in zip(pads, attributes.window, strict=True)):
        return None
    if isinstance(attributes, AveragePool):
        return (replace(attributes, padding=pads, count_padding=True), "") if pad.value == 0 else None
    return replace(attributes, padding=pads), PADDED_WITH_ZEROS if pad.value == 0 else ""


def _cropped(record: Record, attributes: TransposedConvolution, crop: Pads) -> TransposedConvolution | None:
    """The transposed convolution that crops more.

    VALID keeps n s + max(extent - s, 0), whose last rows are zeros where the stride is above the extent.
    """
    given = attributes.padding
    if isinstance(given, str) and given != "valid":
        return None
    spans = [extent(k, d) for k, d in zip(record.call.kernel, attributes.dilation, strict=True)]
    pads, more = [], []
    for axis, (low, high) in enumerate(crop):
        have = given[axis] if isinstance(given, tuple) else (0, 0)
        extra = attributes.output_padding[axis]
        if given == "valid":
            extra = max(attributes.stride[axis] - spans[axis], 0)
        rest = have[1] + high - extra
        pads.append((have[0] + low, max(rest, 0)))
        more.append(max(-rest, 0))
    return replace(attributes, padding=tuple(pads), output_padding=tuple(more))
