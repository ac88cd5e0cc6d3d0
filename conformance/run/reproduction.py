"""One case on one framework as a script of its own, which needs that framework and NumPy alone.

The worker is asked once. What it really called becomes the lines of the script; the numbers that it was given and the
ends of the intervals in which an honest computation lies stand in the script, or in an `.npz` file beside it where
they are many. The script prints what was expected, what it got, and the harness's verdict on it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.backends.base import Backend, Names, variable
from conformance.case.job import Outputs, Refused, Target, Tensor, Unsupported
from conformance.case.model import Case
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, Float64, from_storage, round_to
from conformance.run.engine import Answered, Session
from conformance.run.plan import Item
from conformance.verdict.compare import interval
from conformance.verdict.judge import Judgement, judge
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import MustRefuse
from conformance.worker.gateway import find_adapter, require_known

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


def reproduce(
    case: Case, target: Target, format_name: str = "", data: str = "", *, inside: bool = False, path: str = ""
) -> Reproduction:
    """Asks a target one data set of a case and writes the script of it.

    Args:
        case: what is asked.
        target: of whom.
        format_name: float32 if empty, or the first that the case has.
        data: normal if empty, or the first that the case has.
        inside: all numbers stand in the script, however many.
        path: the adapter as `module:Class`, looked up among the entry points if empty.

    Raises:
        CannotReproduce: if the case has no such format or data, or the target no script.
        TargetError: if the target cannot be used.
    """
    if OPERATORS[case.operator].random:
        raise CannotReproduce(f"{case.operator} draws its own numbers: a sample has no values to compare with")
    format_ = _chosen("format", format_name, case.formats, "float32")
    chosen = _chosen("data", data, case.data, "normal")
    require_known(target)
    adapter = find_adapter(target.backend)
    if adapter is None or not adapter.prelude:
        raise CannotReproduce(
            f"the adapter of {target.backend} names no imports (prelude), so its calls are no script"
        )
    if target.device != "cpu":
        raise CannotReproduce(f"scripts are written for the CPU, got {target.name}")
    if target.modes:
        raise CannotReproduce(f"scripts are written for the mode without a name, got {target.name}")
    item = Item(case=case, target=target, format=format_, layout=case.layouts[0])
    session = Session(target, path=path)
    try:
        asked = session.ask(item, chosen)
    finally:
        session.close()
    judgement = judge(case, asked.job, asked.answer, asked.expected, exact=asked.exact)
    seen = ", ".join(f"{name} {version}" for name, version in session.description.versions.items())
    return _written(case, item, adapter, asked, judgement, seen, inside=inside)


def write(made: Reproduction, path: Path) -> tuple[Path, ...]:
    """Writes a script, and its numbers beside it where they do not stand inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.text, encoding="utf-8", newline="\n")
    if not made.arrays:
        return (path,)
    np.savez_compressed(path.with_suffix(".npz"), allow_pickle=False, **dict(made.arrays))
    return path, path.with_suffix(".npz")


def _chosen(what: str, given: str, allowed: Sequence[Any], usual: str) -> Any:
    if given and given not in allowed:
        raise CannotReproduce(f"the case has no {what} {given!r}; it has {', '.join(allowed)}")
    return given or (usual if usual in allowed else allowed[0])


def _written(
    case: Case, item: Item, adapter: type[Backend], asked: Answered, judgement: Judgement, seen: str, *, inside: bool
) -> Reproduction:
    job, answer, expected = asked.job, asked.answer, asked.expected
    calls = answer.calls if isinstance(answer, (Outputs, Refused)) else ()
    if not calls:
        raise CannotReproduce(f"{item.name}: no native call is known: {judgement.verdicts['outputs'].detail}")
    names = _names(asked)
    wanted = [] if isinstance(expected, MustRefuse) else _wanted(asked, names)
    given = {variable(name): tensor for name, tensor in job.operands.items()}
    given |= {f"cotangent_{variable(name)}": job.cotangents[name] for name in job.cotangents if names.sources}
    count = sum(tensor.data.size for tensor in given.values()) + 3 * sum(want[2].value.size for want in wanted)
    numbers = _Numbers(inside or count <= MOST_INSIDE)
    tensors = [
        f"{name} = " + adapter.native.format(values=numbers.text(name, _portable(tensor)), format=tensor.format)
        for name, tensor in given.items()
    ]
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
        f"{case.id} on {item.target.backend}, {item.format}, {job.data} data"
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
    outputs = [
        (name, variable(name), expectation)
        for name, expectation in asked.expected.outputs.items()
        if variable(name) in names.outputs
    ]
    gradients = [
        (f"gradient of {name}", f"gradient_{variable(name)}", expectation)
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
    format_ = FORMATS[format_name]
    storage = "float64" if format_name == "float64" else "float32"  # holds every shorter one

    def row(title: str, name: str, expectation: Expectation) -> str:
        low, high = interval(expectation.value, expectation.bound, format_)
        ends = {"expected": round_to(expectation.value, format_), "low": low, "high": high}
        texts = [numbers.text(f"{name} {end}", _narrowed(array, storage)) for end, array in ends.items()]
        return f"    ({title!r}, {name}, {', '.join(texts)}),"

    return [
        "agrees = True",
        "for name, got, expected, low, high in [  # an honest computation lies between low and high",
        *(row(*want) for want in wanted),
        "]:",
        f"    kind, got = str(got.dtype), {adapter.numbers.format(tensor='got')}",
        f'    expected, low, high = (np.array(end, "{storage}").astype("float64") for end in (expected, low, high))',
        f"    right_kind = kind == {adapter.dtype.format(format=format_name)!r} and got.shape == low.shape",
        "    within = right_kind and np.all((low <= got) & (got <= high) | np.isnan(expected) & np.isnan(got))",
        "    print(f\"{name}: {'agrees' if within else 'differs'}\\nexpected\\n{expected}\\ngot\\n{got}\")",
        "    agrees = agrees and within",
        *_ENDING,
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
