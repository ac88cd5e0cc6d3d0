"""Numbers worked out by hand: a few questions that need no program to be answered.

Every number is small and dyadic, so that nobody may round it. Each entry says how it is worked out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Softmax
from conformance.case.families.arrays import Blocks, Mean, Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.signals import Polynomial, Signal
from conformance.case.families.steps import Dropout, Sgd
from conformance.case.job import Job, Tensor
from conformance.case.operators import OPERATORS
from conformance.verdict import oracle
from conformance.verdict.oracle import MustRefuse


@dataclass(frozen=True, slots=True, kw_only=True)
class HandWorked:
    """A question, and the answer that a person finds.

    Attributes:
        operator, attributes, operands: the question; nested lists.
        output: of the operator's one output.
        cotangent, gradients: what is pulled back, and what comes of it, by operand; none if empty.
        how: the working.
    """

    operator: str
    attributes: Any
    operands: Mapping[str, Any]
    output: Any
    how: str
    cotangent: Any = None
    gradients: Mapping[str, Any] = field(default_factory=dict)


def _line(*numbers: float) -> list[Any]:
    """One series with one channel."""
    return [[[number] for number in numbers]]


HAND_WORKED: Final = (
    HandWorked(
        operator="conv1d",
        attributes=Convolution(padding="same"),
        operands={"x": _line(1, 2, 3, 4), "w": [[[1]], [[2]], [[3]]]},
        output=_line(8, 14, 20, 11),
        how="0+2+6, 1+4+9, 2+6+12, 3+8+0: the kernel is not turned around.",
        cotangent=_line(1, 0, 0, 1),
        gradients={"x": _line(2, 3, 1, 2), "w": [[[3]], [[5]], [[2]]]},
    ),
    HandWorked(
        operator="conv1d",
        attributes=Convolution(stride=(2,), padding="same"),
        operands={"x": _line(1, 2, 3, 4), "w": [[[1]], [[2]], [[3]]]},
        output=_line(14, 11),
        how="Two windows need one position more, and it goes behind: 1+4+9, 3+8+0.",
    ),
    HandWorked(
        operator="conv2d",
        attributes=Convolution(),
        operands={
            "x": [[[[1], [2], [3]], [[4], [5], [6]], [[7], [8], [9]]]],
            "w": [[[[1]], [[0]]], [[[0]], [[-1]]]],
        },
        output=[[[[-4], [-4]], [[-4], [-4]]]],
        how="Each number less the one below it to the right.",
    ),
    HandWorked(
        operator="conv1d_transpose",
        attributes=TransposedConvolution(stride=(2,)),
        operands={"x": _line(1, 2), "w": [[[1]], [[1]], [[1]]]},
        output=_line(1, 1, 3, 2, 2),
        how="1 1 1 from position 0, 2 2 2 from position 2; they meet at position 2.",
    ),
    HandWorked(
        operator="max_pool1d",
        attributes=MaxPool(window=(2,)),
        operands={"x": _line(5, 5, -3, -1)},
        output=_line(5, -1),
        how="Of equals the first takes the gradient.",
        cotangent=_line(7, 9),
        gradients={"x": _line(7, 0, 0, 9)},
    ),
    HandWorked(
        operator="average_pool1d",
        attributes=AveragePool(window=(2,), stride=(2,), padding="same"),
        operands={"x": _line(2, 4, 6)},
        output=_line(3, 6),
        how="The last window has one number, and is divided by 1.",
        cotangent=_line(1, 1),
        gradients={"x": _line(0.5, 0.5, 1)},
    ),
    HandWorked(
        operator="dense",
        attributes=NoAttributes(),
        operands={"x": [[1, 2]], "w": [[1, 2], [3, 4]], "b": [10, 20]},
        output=[[17, 30]],
        how="1+6+10, 2+8+20.",
        cotangent=[[1, -1]],
        gradients={"x": [[-1, -1]], "w": [[1, -1], [2, -2]], "b": [1, -1]},
    ),
    HandWorked(
        operator="matmul",
        attributes=NoAttributes(),
        operands={"x": [[1, 2], [3, 4]], "y": [[0, 1], [1, 0]]},
        output=[[2, 1], [4, 3]],
        how="The columns change places.",
    ),
    HandWorked(
        operator="mean",
        attributes=Mean(axes=(1,)),
        operands={"x": [[1, 2, 6, 7]]},
        output=[4],
        how="16 / 4.",
        cotangent=[4],
        gradients={"x": [[1, 1, 1, 1]]},
    ),
    HandWorked(
        operator="pad",
        attributes=Pad(padding=((0, 0), (1, 2)), mode="reflect"),
        operands={"x": [[1, 2, 3]]},
        output=[[2, 1, 2, 3, 2, 1]],
        how="The edge is not repeated.",
    ),
    HandWorked(
        operator="depth_to_space",
        attributes=Blocks(block=2),
        operands={"x": [[[[1, 2, 3, 4]]]]},
        output=[[[[1], [2]], [[3], [4]]]],
        how="Channels fill the block row by row.",
    ),
    HandWorked(
        operator="softmax",
        attributes=Softmax(),
        operands={"x": [[3, 3, 3, 3]]},
        output=[[0.25, 0.25, 0.25, 0.25]],
        how="Four equals share 1.",
    ),
    HandWorked(
        operator="sigmoid",
        attributes=NoAttributes(),
        operands={"x": [0]},
        output=[0.5],
        how="1 / (1 + 1); the slope is 1/2 (1 - 1/2).",
        cotangent=[4],
        gradients={"x": [1]},
    ),
    HandWorked(
        operator="softmax_cross_entropy",
        attributes=CrossEntropy(reduction="sum"),
        operands={"logits": [[200, 0]], "labels": [1]},
        output=200,
        how="log(e^200 + 1) - 0 is 200 and less than 1e-86; the probabilities are 1 and as little.",
        cotangent=1,
        gradients={"logits": [[1, -1]]},
    ),
    HandWorked(
        operator="dropout",
        attributes=Dropout(keep=0.5),
        operands={"x": [1, 2, 3], "mask": [True, False, True]},
        output=[2, 0, 6],
        how="What is kept is doubled.",
    ),
    HandWorked(
        operator="sgd",
        attributes=Sgd(learning_rate=0.5),
        operands={"parameter": [1, 2], "gradient": [2, -4]},
        output=[0, 4],
        how="1 - 1, 2 + 2.",
    ),
    HandWorked(
        operator="convolve",
        attributes=Signal(mode="full"),
        operands={"x": [1, 2, 3], "w": [1, 10]},
        output=[1, 12, 23, 30],
        how="(1 + 2 t + 3 t^2) (1 + 10 t).",
    ),
    HandWorked(
        operator="polynomial",
        attributes=Polynomial(coefficients=(2.0, 0.0, -1.0)),
        operands={"x": [3]},
        output=[17],
        how="2 9 - 1; the slope is 4 3.",
        cotangent=[1],
        gradients={"x": [12]},
    ),
)


def wrong() -> Iterator[str]:
    """Where the reference does not give what was worked out by hand."""
    for entry in HAND_WORKED:
        found = oracle.values(job_of(entry))
        if isinstance(found, MustRefuse):
            yield f"{entry.operator}: the reference refuses: {found.why}"
            continue
        (output,) = found.outputs.values()
        checks = [("output", output.value, entry.output)]
        checks += [(f"gradient of {name}", found.gradients[name].value, by) for name, by in entry.gradients.items()]
        for what, value, by_hand in checks:
            if not np.array_equal(value, np.array(by_hand, np.float64)):
                yield f"{entry.operator}: {what} is {value.tolist()}, by hand {by_hand} ({entry.how})"


def job_of(entry: HandWorked) -> Job:
    """The question as it is asked."""
    contract = OPERATORS[entry.operator]

    def tensor(name: str, values: Any) -> Tensor:
        kind = contract.operand(name).kind
        type_ = {"float": np.float64, "integer": np.int64, "mask": np.bool_}[kind]
        return Tensor(np.dtype(type_).name, np.array(values, type_))

    return Job(
        case_id=f"by-hand/{entry.operator}",
        operator=entry.operator,
        attributes=contract.resolve(entry.attributes),
        format="float64",
        layout="native",
        data="given",
        operands={name: tensor(name, values) for name, values in entry.operands.items()},
        cotangents={"output": Tensor("float64", np.array(entry.cotangent, np.float64))} if entry.gradients else {},
    )
