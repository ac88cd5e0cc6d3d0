"""A pure function of JAX's as a list of equations: traced, calls within it laid open, constants worked out.

What `jit` wraps is laid open, for it says nothing of its own. What a function says of its gradient stays with it
(`custom_jvp`, `custom_vjp`), so that an equation that is evaluated is the one that the model would run.
"""

import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

# They run what they wrap, and change no number of it.
_WRAPPERS: Final = {
    **dict.fromkeys(("jit", "pjit", "checkpoint", "remat2"), "jaxpr"),
    "closed_call": "call_jaxpr",
}


# Files, functions and lines, the innermost first.
Frames = tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor that an equation gives, or that the function is given."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A number or an array that no operand changes."""

    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; () for a number."""
        return tuple(np.shape(self.value))

    @property
    def number(self) -> float | None:
        """The one number that it is, wherever one looks; none where it is several."""
        array = np.asarray(self.value)
        if array.size == 0 or array.dtype.kind not in "fiub" or not (array == array.flat[0]).all():
            return None
        return float(array.flat[0])


Operand = Value | Constant


@dataclass(frozen=True, slots=True, eq=False)
class Equation:
    """One primitive applied.

    Attributes:
        name: of the primitive.
        params: as JAX has them.
        eqn: JAX's own, which evaluates.
        scope: where `jax.named_scope` says it stands, which Flax says of its modules.
        frames: where it was called.
    """

    name: str
    params: Mapping[str, Any]
    inputs: tuple[Operand, ...]
    outputs: tuple[Value, ...]
    eqn: Any
    scope: str = ""
    frames: Frames = ()

    @property
    def output(self) -> Value:
        """What it gives, where that is one."""
        return self.outputs[0]

    def evaluate(self, given: Sequence[Any]) -> list[Any]:
        """Its outputs."""
        prepared = self.eqn.primitive.get_bind_params(self.eqn.params)
        # Functions were apart from parameters up to JAX 0.9.
        functions, params = prepared if isinstance(prepared, tuple) else ((), prepared)
        with self.eqn.ctx.manager:
            found = self.eqn.primitive.bind(*functions, *given, **params)
        return list(found) if self.eqn.primitive.multiple_results else [found]

    def line(self, folder: Path) -> tuple[str, str]:
        """The innermost line of a file in a folder that led here: where it is, and what stands there."""
        for file, _, number in self.frames:
            if Path(file).parent == folder:
                return f"{Path(file).name}:{number}", linecache.getline(file, number).strip()
        return "", ""


@dataclass(slots=True, eq=False)
class Graph:
    """A traced function.

    Attributes:
        inputs: one for every leaf of what it was given.
        outputs: one for every leaf of what it gives.
        equations: each after those that it reads.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Operand, ...]
    equations: tuple[Equation, ...]
    giver: Mapping[Value, Equation] = field(init=False)
    readers: Mapping[Value, tuple[Equation, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.giver = {value: equation for equation in self.equations for value in equation.outputs}
        readers: dict[Value, list[Equation]] = {}
        for equation in self.equations:
            for operand in dict.fromkeys(equation.inputs):
                if isinstance(operand, Value):
                    readers.setdefault(operand, []).append(equation)
        self.readers = {value: tuple(found) for value, found in readers.items()}

    def read_once(self, value: Value) -> bool:
        """Whether one equation alone reads it, and nobody outside."""
        return len(self.readers.get(value, ())) == 1 and value not in self.outputs


def traced(jax: Any, function: Callable[..., Any], *given: Any) -> Graph:
    """A function's equations.

    Raises:
        Exception: whatever the function raises.
    """
    closed = jax.make_jaxpr(function)(*given)
    opener = _Opener()
    inputs = tuple(_value(variable) for variable in closed.jaxpr.invars)
    outputs = opener.opened(closed.jaxpr, closed.consts, inputs, "", ())
    return Graph(inputs=inputs, outputs=tuple(outputs), equations=tuple(opener.equations))


def _value(variable: Any) -> Value:
    return Value(shape=tuple(variable.aval.shape), dtype=str(variable.aval.dtype))


class _Opener:
    """Lays calls open, every one of them with values of its own."""

    def __init__(self) -> None:
        self.equations: list[Equation] = []

    def opened(
        self, jaxpr: Any, consts: Sequence[Any], given: Sequence[Operand], scope: str, callers: Frames
    ) -> list[Operand]:
        """The outputs of a jaxpr that is given these operands."""
        known: dict[Any, Operand] = dict(zip(jaxpr.invars, given, strict=True))
        known |= {variable: Constant(const) for variable, const in zip(jaxpr.constvars, consts, strict=True)}

        def of(atom: Any) -> Operand:
            # Only literals, and no variables, have a value of their own.
            return Constant(atom.val) if hasattr(atom, "val") else known[atom]

        for eqn in jaxpr.eqns:
            inputs = tuple(map(of, eqn.invars))
            within = "/".join(part for part in (scope, str(eqn.source_info.name_stack)) if part)
            frames = _frames(eqn.source_info.traceback, callers)
            wrapped = _WRAPPERS.get(eqn.primitive.name)
            if wrapped is not None:
                inner = eqn.params[wrapped]
                # `checkpoint` keeps a jaxpr that has no constants.
                body, held = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
                outputs = self.opened(body, held, inputs, within, frames)
            else:
                outputs = self._applied(eqn, inputs, within, frames)
            known |= dict(zip(eqn.outvars, outputs, strict=True))
        return [of(atom) for atom in jaxpr.outvars]

    def _applied(self, eqn: Any, inputs: tuple[Operand, ...], scope: str, frames: Frames) -> list[Operand]:
        equation = Equation(
            name=eqn.primitive.name,
            params=eqn.params,
            inputs=inputs,
            outputs=tuple(map(_value, eqn.outvars)),
            eqn=eqn,
            scope=scope,
            frames=frames,
        )
        if all(isinstance(operand, Constant) for operand in inputs) and not eqn.effects:
            given = [operand.value for operand in inputs if isinstance(operand, Constant)]
            return [Constant(found) for found in equation.evaluate(given)]
        self.equations.append(equation)
        return list(equation.outputs)


def _frames(traceback: Any, callers: Frames) -> Frames:
    """Who called, from within; what `jit` keeps of a function that it saw before tells of another call's callers."""
    found = tuple((frame.file_name, frame.function_name, frame.line_num) for frame in traceback.frames)
    if not callers:
        return found
    kept = next((place for place, (file, _, _) in enumerate(found) if file.endswith("pjit.py")), len(found))
    return (*found[:kept], *callers)
