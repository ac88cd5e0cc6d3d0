"""The question as a person writes it: cases and their tensors, frozen and validated.

Nothing here computes, and nothing here needs NumPy: listing cases must stay quick.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

Shape = tuple[int, ...]
FloatName = Literal["float64", "float32", "bfloat16", "float16"]
IntegerName = Literal["int8", "int32", "int64"]
FormatName = Literal[FloatName, IntegerName]
Layout = Literal["native", "channels_last", "channels_first", "strided"]
DataSet = Literal["wide", "normal", "special", "given"]
Check = Literal["outputs", "gradients", "jvp", "second"]
Tier = Literal["smoke", "core", "full"]
Initializer = Literal["glorot_uniform", "normal", "zeros", "ones"]
FillName = Literal[
    "normal",
    "wide",
    "special",
    "uniform",
    "integers",
    "arange",
    "ones",
    "zeros",
    "mask",
    "one_hot",
    "glorot_uniform",
]

INTEGER_NAMES: Final = frozenset(get_args(IntegerName))
TIERS: Final[tuple[Tier, ...]] = ("smoke", "core", "full")
CHECKS: Final[tuple[Check, ...]] = ("outputs", "gradients")


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a case file; line and column count from 1."""

    path: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Generated numbers, the same on every machine, seeded by the question.

    `normal`, `wide` and `special` are the data sets of the verdict's rule; `uniform` is in [0, 1); `integers` is in
    low..high, both included; `mask` is true with probability `keep`; `one_hot` puts one 1 in every row of the last
    axis; `glorot_uniform` draws a kernel's weights within sqrt(6 / (fan in + fan out)), as a network starts.
    """

    kind: FillName
    low: int = -3
    high: int = 3
    keep: float = 0.5
    start: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Numbers written in the case file, flattened in row-major order."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Numbers in a `.npy` file, or in a member `key` of a `.npz` file."""

    path: Path
    key: str | None = None


Source = Fill | Values | File


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A tensor to be made: its shape, and where its numbers come from (None: the data sets of the operator)."""

    shape: Shape
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """Numbers that a case states: as expected, or as claimed.

    `decimals` says what they carry: None for exact numbers, n for n decimals. `computed` names the format whose
    arithmetic produced them, and adds that arithmetic's bound.
    """

    tensor: TensorSpec
    decimals: int | None = None
    computed: FloatName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """What a case states beside the reference; the reference is held to it too."""

    shape: Shape | None = None
    outputs: Mapping[str, Stated] = field(default_factory=dict)
    gradients: Mapping[str, Stated] = field(default_factory=dict)
    error: Literal["no", "required", "allowed"] = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a source says about a case, and whether it holds; evaluated on the reference and on every backend."""

    says: str
    holds: bool
    shape: Shape | None = None
    outputs: Mapping[str, Stated] = field(default_factory=dict)
    gradients: Mapping[str, Stated] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """One of the readings that a framework's own default may follow.

    Attributes:
        name: a short fact, "pads at the end".
        attributes: the operator's own frozen dataclass, resolved.
        variant: the name of another reading of the operator with these attributes; the reference's own if empty.
        where: its place in the case file.
    """

    name: str
    attributes: Any
    variant: str = ""
    where: Where = field(compare=False)


# Of a case that names none.
USUAL_FORMATS: Final[tuple[FormatName, ...]] = ("float32", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question: an operator, its attributes, its inputs.

    Attributes:
        id: a path, `conv2d/same-stride2-even-kernel`.
        operator: a name of the operators' table, or `chain`.
        attributes: the operator's own frozen dataclass, resolved (no default left open); of a probe, those of its
            first reading.
        inputs: every operand given, by name; `layer/operand` within a chain.
        cotangents: by output; those left out are generated.
        data: the data sets that are asked.
        formats: what the numbers are stored in: floating-point formats, or integers, which ask outputs alone. Below
            the tier `full` the first is asked, and in turn one more.
        layouts: how the arrays are given to a framework, see `layouts`; if none is named, `native` and, in turn, one
            more.
        tier: the smallest tier that runs it.
        was: the ids that it had before; comparisons of runs and deviations follow it.
        readings: makes the case a probe: which of them does the framework's own option or default follow?
        native: the attributes that are left out of the framework's call.
    """

    id: str
    operator: str
    attributes: Any
    inputs: Mapping[str, TensorSpec]
    cotangents: Mapping[str, TensorSpec] = field(default_factory=dict)
    data: tuple[DataSet, ...] = ("wide", "normal")
    formats: tuple[FormatName, ...] = USUAL_FORMATS
    layouts: tuple[Layout, ...] = ()
    checks: tuple[Check, ...] = ("outputs", "gradients")
    tier: Tier = "core"
    expect: Expect = field(default_factory=Expect)
    claims: tuple[Claim, ...] = ()
    readings: tuple[Convention, ...] = ()
    native: tuple[str, ...] = ()
    about: str = ""
    source: str = ""
    was: tuple[str, ...] = ()
    where: Where
