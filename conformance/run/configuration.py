"""`conformance.toml`: targets with a name of their own, for devices and compilers that are not on anybody's list.

[targets.mydev]
backend = "torch"                # whose adapter drives it
device = "privateuseone"         # as the framework calls it
imports = ["torch_mydev"]        # before the adapter: how an out-of-tree device registers
environment = {MYDEV_LOG = "1"}  # of the worker's process, before anything is imported
modes = ["compile"]              # as after `+`
interpreter = ".venv/bin/python"
operators = ["conv*", "relu"]    # others are not asked, and counted
accumulators = [{operators = "conv*", format = "bfloat16", check = "*", sums = "float32"}]
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from conformance.case.job import Target
from conformance.case.model import FloatName
from conformance.errors import InvalidCases, InvalidTarget, Problem
from conformance.formats import FORMATS
from conformance.worker.gateway import known_backends

FILE: Final = "conformance.toml"
# A target's name is a folder's, and ends where a typed target's device, modes or interpreter would begin.
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _format(name: str) -> str:
    if name not in FORMATS:
        raise ValueError(f"expected one of {', '.join(FORMATS)}")
    return name


_STRICT: Final = ConfigDict(extra="forbid", strict=False)


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Sums:
    """What a device sums in.

    Attributes:
        operators: a glob.
        format: the storage format; every one if `*`.
        check: outputs, gradients, or both if `*`.
        sums: the accumulator's format.
    """

    sums: Annotated[str, AfterValidator(_format)]
    operators: str = "*"
    format: FloatName | Literal["*"] = "*"
    check: Literal["outputs", "gradients", "*"] = "*"


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class NamedTarget:
    """One table `[targets.NAME]`; see `Target` for what its keys mean."""

    backend: Annotated[str, Field(min_length=1)]
    interpreter: str = ""
    device: Annotated[str, Field(min_length=1)] = "cpu"
    modes: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    operators: tuple[str, ...] = ()
    accumulators: tuple[Sums, ...] = ()

    def target(self, name: str) -> Target:
        """It as a target of that name."""
        return Target(
            backend=self.backend,
            interpreter=self.interpreter,
            device=self.device,
            modes=self.modes,
            label=name,
            imports=self.imports,
            environment=tuple(self.environment.items()),
            operators=self.operators,
            accumulators=tuple(
                (row.operators, format_, row.check, row.sums)
                for row in self.accumulators
                for format_ in (get_args(FloatName) if row.format == "*" else (row.format,))
            ),
        )


@validated(frozen=True, slots=True, kw_only=True, config=_STRICT)
class _File:
    targets: dict[Annotated[str, Field(pattern=_NAME)], NamedTarget] = Field(default_factory=dict)


def load_targets(path: Path | None = None) -> Mapping[str, Target]:
    """The targets that a file names.

    Args:
        path: the file; `conformance.toml` in the current folder if None, where it may be missing.

    Raises:
        InvalidCases: with every problem of the file.
    """
    if path is None:
        path = Path(FILE)
        if not path.exists():
            return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidCases([Problem(str(path), f"cannot be read: {error.strerror}")]) from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise InvalidCases([Problem(str(path), f"is no TOML: {error}")]) from error
    try:
        named = TypeAdapter(_File).validate_python(data).targets
    except ValidationError as error:
        raise InvalidCases([_problem(path, fault) for fault in error.errors(include_url=False)]) from error
    problems = [
        Problem(f"{path}: targets.{name}", "is the name of a backend; give the target one of its own")
        for name in named
        if name in known_backends()
    ]
    if problems:
        raise InvalidCases(problems)
    return {name: one.target(name) for name, one in named.items()}


def target_of(text: str, named: Mapping[str, Target]) -> Target:
    """A target by its name in the file, or as it is typed.

    Raises:
        InvalidTarget: if it cannot be read, or is nearly a name of the file.
    """
    if text in named:
        return named[text]
    target = Target.parse(text)
    if target.backend in named:
        raise InvalidTarget(text, f"{target.backend!r} is named in {FILE}, and takes its device and modes from there")
    known = known_backends()
    close = difflib.get_close_matches(target.backend, (*named, *known), 1)
    if target.backend not in known and close and close[0] in named:
        raise InvalidTarget(text, f"{FILE} names {', '.join(named)}, did you mean {close[0]!r}")
    return target


def _problem(path: Path, fault: Any) -> Problem:
    """One fault of pydantic's, with file, key, got, expected and remedy."""
    steps = [step for step in map(str, fault["loc"]) if step != "[key]"]
    where = f"{path}: {'.'.join(steps)}"
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        depth = len(steps)
        allowed = {1: ("targets",), 3: tuple(f.name for f in fields(NamedTarget))}.get(
            depth, tuple(f.name for f in fields(Sums))
        )
        close = difflib.get_close_matches(steps[-1], allowed, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return Problem(where, f"there is no such key; expected one of {', '.join(allowed)}.{hint}")
    if fault["type"] in ("missing", "missing_argument"):
        return Problem(where, "is missing; every target names its backend, every accumulator what it sums in")
    return Problem(where, f"{fault['msg']}, got {fault['input']!r}")
