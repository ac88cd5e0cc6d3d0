"""One case on one framework as a script of its own, which needs that framework and NumPy alone.

What the worker really called becomes the lines of the script; the numbers that it was given and the ends of the
intervals in which an honest computation lies stand in the script, or in an `.npz` file beside it where they are many.
The script prints what was expected, what it got, and the harness's verdict on it.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.backends.base import Backend, Names, variable
from conformance.case.job import Description, Outputs, Refused, Target, Tensor, Unsupported
from conformance.case.layouts import axes_of, marked
from conformance.case.model import Case
from conformance.case.operators import OPERATORS, Chain
from conformance.formats import FORMATS, Float64, Format, from_storage, round_to
from conformance.run.answered import Answered
from conformance.run.plan import Item
from conformance.verdict.compare import interval
from conformance.verdict.judge import Judgement
from conformance.verdict.model import Expectation, Outcome
from conformance.verdict.oracle import MustRefuse
from conformance.worker.gateway import find_adapter

# Numbers that a script holds itself; with more, nobody pastes it into an issue.
MOST_INSIDE: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A script, and the arrays that it reads from the `.npz` file of its name; none if all stands inside."""

    text: str
    arrays: Mapping[str, NDArray[np.generic]]


class CannotReproduce(ValueError):
    """No script can be written; the text says why."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Writes arrays down: as nested lists, or as places in a file."""

    inside: bool
    arrays: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    def text(self, name: str, array: NDArray[np.generic]) -> str:
        if self.inside:
            return _literal(array)
        self.arrays[name] = array
        return f'data["{name}"]'


# What somebody may want to report, and what a call can show: nobody pastes what a framework lacks.
REPORTED: Final = (Outcome.DIFFERS, Outcome.LOW_PRECISION, Outcome.REFUSED, Outcome.ACCEPTED_INVALID)


def scripting(case: Case, target: Target) -> type[Backend]:
    """The adapter in whose words a script of a case can be written.

    Raises:
        CannotReproduce: if there is none.
    """
    if OPERATORS[case.operator].random:
        raise CannotReproduce(f"{case.operator} draws its own numbers: a sample has no values to compare with")
    adapter = find_adapter(target.backend)
    if adapter is None or not adapter.prelude:
        raise CannotReproduce(
            f"the adapter of {target.backend} names no imports (prelude), so its calls are no script"
        )
    if target.device != "cpu":
        raise CannotReproduce(f"scripts are written for the CPU, got {target.name}")
    if target.modes:
        raise CannotReproduce(f"scripts are written for the mode without a name, got {target.name}")
    return adapter


def script_of_the_worst(item: Item, asked: Sequence[tuple[Answered, Judgement]], description: Description) -> str:
    """The script of the gravest data set, where it is to be reported and holds its numbers itself; else nothing."""

    def gravity(judgement: Judgement) -> int:
        return max(verdict.outcome.severity for verdict in judgement.verdicts.values())

    answered, judgement = max(asked, key=lambda each: gravity(each[1]))
    if not any(verdict.outcome in REPORTED for verdict in judgement.verdicts.values()):
        return ""
    with suppress(CannotReproduce):
        made = script_of(item, scripting(item.case, item.target), answered, judgement, description)
        return "" if made.arrays else made.text
    return ""


def script_of(
    item: Item,
    adapter: type[Backend],
    asked: Answered,
    judgement: Judgement,
    description: Description,
    *,
    inside: bool = False,
) -> Reproduction:
    """Writes the script of one question that was asked; with `inside` it holds all numbers, however many.

    Raises:
        CannotReproduce: if no native call is known.
    """
    case = item.case
    seen = ", ".join(f"{name} {version}" for name, version in description.versions.items())
    job, answer, expected = asked.job, asked.answer, asked.expected
    calls = answer.calls if isinstance(answer, (Outputs, Refused)) else ()
    if not calls:
        raise CannotReproduce(f"{item.name}: no native call is known: {judgement.verdicts['outputs'].detail}")
    if adapter.builds and isinstance(job.attributes, Chain) and job.attributes.network:
        raise CannotReproduce(f"{item.name}: modules answer it, not calls; ask its layers' operators one by one")
    names = _names(asked)
    wanted = [] if isinstance(expected, MustRefuse) else _wanted(asked, names)
    axes = axes_of(job.operator, job.layout)
    operands = {variable(name): axes.given(name, tensor) for name, tensor in job.operands.items()}
    cotangents = {
        f"cotangent_{variable(name)}": axes.given(name, tensor)
        for name, tensor in job.cotangents.items()
        if names.sources
    }
    given = operands | cotangents
    count = sum(tensor.data.size for tensor in given.values()) + 3 * sum(want[2].value.size for want in wanted)
    numbers = _Numbers(inside or count <= MOST_INSIDE)
    tensors = [
        f"{name} = " + adapter.native.format(values=numbers.text(name, _portable(tensor)), format=tensor.format)
        for name, tensor in given.items()
    ]
    if job.layout == "strided":
        tensors += [f"{name} = {adapter.strided.format(tensor=name)}" for name in operands]
    made = list(adapter.script(calls, names))
    refused = isinstance(answer, Refused) or any(isinstance(g, Refused) for g in _gradients(asked).values())
    if isinstance(expected, MustRefuse):
        body = _tried(made, 'print(f"{type(error).__name__}: {error}", "agrees", sep="\\n")', "raise SystemExit(0)")
        shape = case.expect.shape if case.expect.error == "allowed" else None
        told = f"expected an error: {expected.why}" + (f"; or an empty result of shape {shape}" if shape else "")
        shapes = ", ".join(f"tuple({name}.shape)" for name in names.outputs)
        body += [
            f"print({told!r})",
            f'print("got shape", {shapes})',
            f"agrees = {f'{shape} in [{shapes}]' if shape else False}",
        ]
        body += _ENDING
    else:
        if refused:
            made = _tried(made, 'raise SystemExit(f"{type(error).__name__}: {error}\\ndiffers")')
        body = [*made, *_judging(adapter, item.format, wanted, numbers)]
    verdicts = ", ".join(f"{check} {verdict.outcome}" for check, verdict in judgement.verdicts.items())
    head = [
        f"{case.id} on {item.target.backend}, {', '.join((item.format, *marked(item.layout)))}, {job.data} data"
        + (f": {case.about}" if case.about else ""),
        f"Seen with {seen}: {verdicts}",
    ]
    if case.operator == "chain":
        head.append("Each layer is judged on the input that it had then; with other last bits, the first one counts")
    loaded = [] if numbers.inside else ['data = np.load(__file__.removesuffix(".py") + ".npz")']
    rest = "\n".join([*loaded, *tensors, *body])
    imports = ["import numpy as np", *(["from numpy import inf, nan"] if _NAMED.search(rest) else [])]
    used = "\n".join([*(line for line in adapter.prelude if not line.startswith(_IMPORTS)), rest])
    imports += [line for line in adapter.prelude if line not in imports and _needed(line, used)]
    comments = [f"# {' '.join(line.split())}" for line in head]
    return Reproduction(text="\n".join([*comments, *imports, "", rest]) + "\n", arrays=numbers.arrays)


_IMPORTS: Final = ("import ", "from ")
_NAMED: Final = re.compile(r"(?<![\w.'\"])(?:inf|nan)(?![\w'\"])")


def _needed(line: str, rest: str) -> bool:
    """Whether a line of the prelude binds a name that the rest uses; what binds none is always needed."""
    if not line.startswith(_IMPORTS):
        return True
    return re.search(rf"(?<![\w.]){re.escape(line.split()[-1])}\b", rest) is not None


def _gradients(asked: Answered) -> Mapping[str, Any]:
    """What came of the gradients of operands that the backend has; a chain's layers are left to the harness."""
    if not isinstance(asked.answer, Outputs):
        return {}
    return {
        name: gradient
        for name, gradient in asked.answer.gradients.items()
        if name in asked.job.operands and not isinstance(gradient, Unsupported)
    }


def _names(asked: Answered) -> Names:
    outputs = tuple(
        asked.answer.outputs if isinstance(asked.answer, Outputs) else asked.job.cotangents or ("output",)
    )
    gradients = _gradients(asked)
    heads = tuple(asked.job.cotangents) if gradients else ()
    return Names(
        operands=tuple(map(variable, asked.job.operands)),
        outputs=tuple(map(variable, outputs)),
        heads=tuple(map(variable, heads)),
        cotangents=tuple(f"cotangent_{variable(name)}" for name in heads),
        sources=tuple(map(variable, gradients)),
        gradients=tuple(f"gradient_{variable(name)}" for name in gradients),
    )


def _wanted(asked: Answered, names: Names) -> list[tuple[str, str, Expectation]]:
    """What is judged: its title, its variable, what it must be."""
    assert not isinstance(asked.expected, MustRefuse)
    axes = axes_of(asked.job.operator, asked.job.layout)

    def given(name: str, expectation: Expectation) -> Expectation:
        value, bound = (axes.numbers_given(name, array) for array in (expectation.value, expectation.bound))
        return replace(expectation.within(bound), value=value)

    outputs = [
        (name, variable(name), given(name, expectation))
        for name, expectation in asked.expected.outputs.items()
        if variable(name) in names.outputs
    ]
    gradients = [
        (f"gradient of {name}", f"gradient_{variable(name)}", given(name, expectation))
        for name, expectation in asked.expected.gradients.items()
        if variable(name) in names.sources
    ]
    return outputs + gradients


def _tried(lines: Sequence[str], *refusal: str) -> list[str]:
    """Lines that may raise, and what is to be said then."""
    return [
        "try:",
        *(f"    {line}" for line in lines),
        "except Exception as error:",
        *(f"    {line}" for line in refusal),
    ]


_ENDING: Final = ('print("agrees" if agrees else "differs")', "raise SystemExit(not agrees)")


def _judging(
    adapter: type[Backend], format_name: str, wanted: Sequence[tuple[str, str, Expectation]], numbers: _Numbers
) -> list[str]:
    lines = ["agrees = True"]
    for own in dict.fromkeys(expectation.stored_in(format_name) for _, _, expectation in wanted):
        rows = [want for want in wanted if want[-1].stored_in(format_name) is own]
        lines += _judging_format(adapter, own, rows, numbers)
    return [*lines, *_ENDING]


def _judging_format(
    adapter: type[Backend], format_: Format, wanted: Sequence[tuple[str, str, Expectation]], numbers: _Numbers
) -> list[str]:
    """The lines that judge the arrays of one format."""
    storage = "float64" if format_.precision > FORMATS["float32"].precision else "float32"  # holds every shorter one

    def row(title: str, name: str, expectation: Expectation) -> str:
        low, high = interval(expectation.value, expectation.bound, format_)
        ends = {"expected": round_to(expectation.value, format_), "low": low, "high": high}
        texts = [numbers.text(f"{name} {end}", _narrowed(array, storage)) for end, array in ends.items()]
        return f"    ({title!r}, {name}, {', '.join(texts)}),"

    return [
        "for name, got, expected, low, high in [  # an honest computation lies between low and high",
        *(row(*want) for want in wanted),
        "]:",
        f"    kind, got = str(got.dtype), {adapter.numbers.format(tensor='got')}",
        f'    expected, low, high = (np.array(end, "{storage}").astype("float64") for end in (expected, low, high))',
        f"    within = kind == {adapter.dtype.format(format=format_.name)!r} and got.shape == low.shape"
        " and np.all((low <= got) & (got <= high) | np.isnan(expected) & np.isnan(got))",
        "    print(f\"{name}: {'agrees' if within else 'differs'}\\nexpected\\n{expected}\\ngot\\n{got}\")",
        "    agrees = agrees and within",
    ]


def _portable(tensor: Tensor) -> NDArray[np.generic]:
    """A tensor's numbers in a type that every NumPy has and that holds them exactly."""
    if tensor.format in ("bfloat16", "float16"):
        return from_storage(tensor.data, FORMATS[tensor.format]).astype(np.float32)
    return tensor.data


def _narrowed(array: Float64, storage: str) -> NDArray[np.generic]:
    return np.asarray(array).astype(storage)


def _literal(array: NDArray[np.generic]) -> str:
    """Nested lists with the shortest texts that give these very numbers back."""
    if not array.size:  # lists forget the axes behind an empty one
        return f"np.zeros({array.shape})"
    if array.ndim:
        return f"[{', '.join(_literal(part) for part in array)}]"
    if array.dtype.kind != "f":
        return str(array.item())
    short = str(array[()])
    # Read as a float64 and rounded once more: a text near a tie may come out another number.
    same = np.array_equal(np.array(float(short)).astype(array.dtype), array, equal_nan=True)
    return short if same else repr(float(array))
