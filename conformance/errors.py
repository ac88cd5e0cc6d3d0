"""Everything that this package raises on purpose.

    ConformanceError
    |-- InvalidCases          case files that cannot be run: every problem at once, each with its place
    |-- InvalidOperator       an operator of an installed package that has another one's name
    |-- ImpossibleShape       an operator asked about shapes that have no answer
    |-- TargetError
    |   |-- InvalidTarget     a target that cannot be read: "torch:cuda+fast?"
    |   |-- UnknownBackend    no installed package offers a backend of that name
    |   |-- BackendMissing    the backend is known, its framework is not installed
    |   |-- WorkerFailed      a worker process did not start
    |   `-- ModelFailed       a user's model raised, died or was silent
    |-- NotTranslatable       an adapter has no counterpart for what a job asks (becomes an answer, `Unsupported`)
    |-- InvalidModel          a user's model, weights or input that do not go together
    |-- InvalidStore          a file under reports/ that is not a run
    `-- InvalidData           digits or arrays that are not what they claim to be

Exceptions carry fields; their text says where, what was given, what was expected, and the remedy.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class ConformanceError(Exception):
    """The root of the tree."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a case file: `where` is `path:line:column`."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class InvalidCases(ConformanceError):
    """Case files that cannot be run, with every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InvalidOperator(ConformanceError):
    """An operator that an installed package offers under a name that another one has."""

    def __init__(self, what: str, name: str) -> None:
        self.name = name
        super().__init__(
            f"two {what} are called {name!r}. An operator of the group conformance.operators needs a name of its "
            "own, and so does the class of its attributes"
        )


class ImpossibleShape(ConformanceError, ValueError):
    """An operator asked about attributes or shapes that have no answer; the text says which and why."""


class TargetError(ConformanceError):
    """A target that cannot be used."""


class InvalidTarget(TargetError):
    """A target's text that cannot be read."""

    def __init__(self, text: str, why: str) -> None:
        self.text = text
        super().__init__(
            f"target {text!r}: {why}. Expected BACKEND[:DEVICE][+MODE][@INTERPRETER], "
            "for instance torch, torch:cuda, jax@.venvs/jax/bin/python"
        )


class UnknownBackend(TargetError):
    """No installed package offers a backend of this name."""

    def __init__(self, name: str, known: Sequence[str], suggestion: str = "") -> None:
        self.name = name
        self.known = tuple(known)
        hint = f" Did you mean {suggestion!r}?" if suggestion else ""
        super().__init__(f"no backend is named {name!r}; installed are {', '.join(known) or 'none'}.{hint}")


class BackendMissing(TargetError):
    """The backend is known, but its framework is not installed where the target lives."""

    def __init__(self, name: str, module: str, interpreter: str, install: str) -> None:
        self.name = name
        self.module = module
        self.install = install
        super().__init__(f"{name}: {interpreter} cannot import {module!r}. Install it with: {install}")


class WorkerFailed(TargetError):
    """A worker process did not start; `last_words` is the end of what it wrote to standard error."""

    def __init__(self, target: str, why: str, last_words: str) -> None:
        self.target = target
        self.last_words = last_words
        super().__init__(f"{target}: the worker did not start: {why}" + (f"\n{last_words}" if last_words else ""))


class ModelFailed(TargetError):
    """A user's model that raised, died or was silent; `where` is its spec, `why` says what it was doing and where."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        super().__init__(f"{where}: {why}")


class NotTranslatable(ConformanceError):
    """An adapter has no counterpart for what a job asks; the host turns it into the answer `Unsupported`."""


class InvalidModel(ConformanceError):
    """A user's model, its weights or its input that cannot be used: `where` is the file or the part of it."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        super().__init__(f"{where}: {why}")


class InvalidStore(ConformanceError):
    """A file among the reports that is not a run, or not of this version."""


class InvalidData(ConformanceError):
    """Arrays or digits that are not what they claim to be: a wrong digest, a pickled array, a cut-off file."""
