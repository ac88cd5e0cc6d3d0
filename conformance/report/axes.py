"""The spatial axes of sliding operators, resolved: what a drawing and an explanation have to say about each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from conformance.case.contract import kernel_sides
from conformance.case.families.convolution import settled
from conformance.case.geometry import Pads, extent, resolve_pads, transposed_crop, window_count
from conformance.case.operators import OPERATORS
from conformance.run.store import CaseRecord

_AXES: Final = {1: ("steps",), 2: ("rows", "columns"), 3: ("depth", "rows", "columns")}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One spatial axis, resolved.

    Attributes:
        size, low, high: input elements, and the pads at both ends.
        count: output elements.
        start: where the output starts on a transposed convolution's canvas; 0 for windows.
        rule: the padding as the case says it.
        more: output padding.
        ceil: whether the last window may hang over the end.
        transposed: the kernel is placed at every stride instead of read there.
    """

    name: str
    size: int
    low: int
    high: int
    kernel: int
    stride: int
    dilation: int
    count: int
    start: int
    rule: str
    more: int
    ceil: bool
    transposed: bool

    @property
    def extent(self) -> int:
        """Elements that the kernel spans."""
        return extent(self.kernel, self.dilation)

    @property
    def placements(self) -> int:
        """How often the kernel stands on the drawn line: outputs read, or inputs placed."""
        return self.size if self.transposed else self.count

    @property
    def first(self) -> int:
        """The first position of the drawn line."""
        return min(0, self.start) if self.transposed else -self.low

    @cached_property
    def end(self) -> int:
        """One beyond the last position of the drawn line."""
        reach = self.origin(self.placements - 1) + self.extent
        if self.transposed:
            return max(reach, self.start + self.count)
        return max(reach, self.size + self.high)

    def origin(self, index: int) -> int:
        """Where the kernel's first tap stands for an output (or, transposed, an input)."""
        return index * self.stride - (0 if self.transposed else self.low)

    def taps(self, index: int) -> range:
        """The positions that it touches there."""
        start = self.origin(index)
        return range(start, start + self.extent, self.dilation)

    @cached_property
    def touched(self) -> dict[int, int]:
        """How many placements touch each position."""
        counts = dict.fromkeys(range(self.first, self.end), 0)
        for index in range(self.placements):
            for position in self.taps(index):
                counts[position] += 1
        return counts

    @property
    def unread(self) -> list[int]:
        """Input elements that no window reads."""
        return [position for position in range(self.size) if not self.touched[position]]

    @property
    def formula(self) -> str:
        """The output's size, with its numbers."""
        n, k, s = self.size, self.extent, self.stride
        spans = f" (the kernel spans ({self.kernel} - 1) x {self.dilation} + 1 = {k})" if self.dilation > 1 else ""
        if not self.transposed:
            how = "ceil" if self.ceil else "floor"
            free = n + self.low + self.high - k
            steps = -(-free // s) if self.ceil else free // s
            # A window that would start beyond the input and its low pad is not taken.
            less = " - 1 (the last would start in the high pad)" if steps + 1 != self.count else ""
            return f"{how}(({n} + {self.low} + {self.high} - {k}) / {s}) + 1{less} = {self.count}{spans}"
        canvas = (n - 1) * s + k
        placed = f"canvas ({n} - 1) x {s} + {k} = {canvas}{spans}"
        if self.rule == "explicit":
            more = f" + {self.more}" if self.more else ""
            return f"{placed}; {canvas} - {self.low} - {self.high}{more} = {self.count}"
        if self.rule == "valid":
            return f"{placed}; VALID keeps {n} x {s} + max({k} - {s}, 0) = {self.count}"
        return f"{placed}; SAME keeps {n} x {s} = {self.count}, from {self.start}"

    @property
    def remark(self) -> str:
        """What a reader would otherwise have to count."""
        said = []
        if self.transposed:
            after = self.end - self.start - self.count
            if self.start or after:
                said.append(f"cropped: {self.start} at the low end, {after} at the high end")
        else:
            said.append(f"pads: {self.low} low, {self.high} high" if self.low or self.high else "no pads")
            if self.unread:
                said.append(f"unread: {_places(self.unread)}")
            over = self.origin(self.count - 1) + self.extent - self.size - self.high
            if over > 0:
                said.append(f"the last window hangs over the end by {over}")
        return "; ".join(said)


def axes_of(case: CaseRecord) -> tuple[tuple[str, tuple[Axis, ...]], ...]:
    """A title and the axes of a sliding operator, or of every sliding layer of a chain.

    Raises:
        ImpossibleShape, KeyError, TypeError, ValueError: if the question has no answer, or is of another version.
    """
    shapes = {name: tuple(shape) for name, shape in case.shapes.items()}
    if case.operator != "chain":
        if not OPERATORS[case.operator].rank:
            return ()
        return ((case.operator, resolve_axes(case.operator, case.attributes, shapes)),)
    found = []
    x = shapes["x"]
    outputs = {"x": x}
    for layer in case.attributes["layers"]:
        operator = OPERATORS[layer["operator"]]
        own = {name.partition("/")[2]: s for name, s in shapes.items() if name.startswith(f"{layer['name']}/")}
        taken = [outputs[source] for source in layer.get("takes", ())] or [x]
        given = {operand.name: shape for operand, shape in zip(operator.operands, taken, strict=False)} | own
        if operator.rank:
            found.append(
                (f"{layer['name']} ({operator.name})", resolve_axes(operator.name, layer["attributes"], given))
            )
        x = operator.shapes(operator.attributes(**_tuples(layer["attributes"])), given)["output"]
        outputs[layer["name"]] = x
    return tuple(found)


def resolve_axes(
    operator: str, attributes: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Axis, ...]:
    """The spatial axes of a sliding operator.

    Raises:
        ImpossibleShape: if the question has no answer.
    """
    contract = OPERATORS[operator]
    asked = contract.resolve(contract.attributes(**_tuples(attributes)))
    contract.shapes(asked, shapes)
    rank = contract.rank
    transposed = operator.endswith("_transpose")
    sizes = shapes["x"][1:-1]
    kernel = kernel_sides(asked, shapes, rank)
    ones = (1,) * rank
    stride = tuple(attributes["stride"]) or (kernel if "window" in attributes else ones)
    dilation = tuple(attributes.get("dilation", ())) or ones
    more = (0,) * rank
    padding = _tuples(attributes["padding"])
    ceil = bool(attributes.get("ceil_mode", False))
    if transposed:
        told = settled(asked, sizes, kernel)
        padding, more = told.padding, told.output_padding
        starts, counts = transposed_crop(padding, sizes, kernel, stride, dilation, more)
        pads: Pads = padding if isinstance(padding, tuple) else ((0, 0),) * rank
    else:
        pads = resolve_pads(padding, sizes, kernel, stride, dilation)
        counts = window_count(sizes, pads, kernel, stride, dilation, ceil_mode=ceil)
        starts = (0,) * rank
    return tuple(
        Axis(
            name=name,
            size=sizes[i],
            low=pads[i][0],
            high=pads[i][1],
            kernel=kernel[i],
            stride=stride[i],
            dilation=dilation[i],
            count=counts[i],
            start=starts[i],
            rule=padding if isinstance(padding, str) else "explicit",
            more=more[i],
            ceil=ceil,
            transposed=transposed,
        )
        for i, name in enumerate(_AXES[rank])
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value


def _places(positions: Sequence[int]) -> str:
    if len(positions) <= 6:
        return ", ".join(map(str, positions))
    return f"{', '.join(map(str, positions[:4]))} ... {positions[-1]} ({len(positions)} of them)"
