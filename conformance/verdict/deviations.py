"""Known differences, on file: data, versioned, linked, and they expire.

A deviation stands beside an outcome without overwriting it. Every result that it matches must show exactly what it
states; one that agrees instead is `STALE`, any other is unexpected.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from packaging.requirements import Requirement
from pydantic import AfterValidator, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from conformance.case.job import Description, Target
from conformance.case.listing import default_root
from conformance.case.model import Case, Check, FormatName, Layout
from conformance.case.operators import OPERATORS
from conformance.case.yaml12 import dump, read
from conformance.errors import InvalidCases, Problem
from conformance.formats import INTEGERS
from conformance.verdict.model import Outcome, Verdict

Standing = Literal["expected", "unexpected", "stale"]
# Modes in which a framework may compute with less than was asked.
INEXACT_MODES: Final = ("stock", "tf32")


def _requirement(text: str) -> str:
    """A requirement that can be read, or nothing."""
    if text:
        Requirement(text)  # its exception is a ValueError, which pydantic tells with its place
    return text


def _names(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


def _features(given: Sequence[str], format_name: str) -> set[str]:
    return {name.replace("{format}", format_name) for name in given}


@validated(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid", strict=False))
class Deviation:
    """One difference that is known.

    Attributes:
        id: short and unique; the report refers to it.
        cases: globs over case ids.
        backend: whose it is; that of several, where one stands on the other, a name or a list in a file.
        device: where; any if empty.
        mode: a mode that the target must have; any, and none, if empty.
        formats, layouts: which; any if empty.
        checks: outputs, gradients, or both.
        versions: a requirement such as `tensorflow>=2.19,<2.22`; any if empty.
        cpu_features: all of these must be among those that the backend tells of; `{format}` stands for the result's,
            as in `onednn-{format}`.
        except_cpu_features: none of these may be.
        machine: the processor architecture, as `platform.machine()` says; any if empty.
        modes: all of these must be among the target's.
        except_modes: none of these may be.
        outcome, reason: what every matched result must show; any reason if empty.
        also: what else the same cause shows as, in some of them: numbers read from memory that nobody wrote are
            UNSTABLE and agree once, say.
        about: one sentence of fact.
        link: where it is reported or documented.
    """

    id: str
    cases: tuple[str, ...]
    backend: Annotated[tuple[str, ...], BeforeValidator(_names)]
    outcome: Outcome
    about: str
    checks: tuple[Check, ...] = ("outputs",)
    device: str = ""
    mode: str = ""
    formats: tuple[FormatName, ...] = ()
    layouts: tuple[Layout, ...] = ()
    versions: Annotated[str, AfterValidator(_requirement)] = ""
    cpu_features: tuple[str, ...] = ()
    except_cpu_features: tuple[str, ...] = ()
    machine: str = ""
    modes: tuple[str, ...] = ()
    except_modes: tuple[str, ...] = ()
    reason: str = ""
    also: tuple[Outcome, ...] = ()
    link: str = ""

    def covers(
        self,
        case_id: str,
        target: Target,
        format_name: str,
        check: Check,
        description: Description,
        layout: str = "native",
    ) -> bool:
        """Whether it speaks of this check of this result."""
        return (
            target.backend in self.backend
            and self.device in ("", target.device)
            and self.mode in ("", *target.modes)
            and check in self.checks
            and (not self.formats or format_name in self.formats)
            and (not self.layouts or layout in self.layouts)
            and _features(self.cpu_features, format_name) <= set(description.cpu_features)
            and not _features(self.except_cpu_features, format_name) & set(description.cpu_features)
            and self.machine in ("", platform.machine())
            and set(self.modes) <= set(target.modes)
            and not set(self.except_modes) & set(target.modes)
            and any(fnmatchcase(case_id, glob) for glob in self.cases)
            and self._is_of(description)
        )

    def _is_of(self, description: Description) -> bool:
        """Whether the versions that the backend tells of are among its own."""
        if not self.versions:
            return True
        requirement = Requirement(self.versions)
        version = description.versions.get(requirement.name, "")
        return bool(version) and requirement.specifier.contains(version.partition("+")[0], prereleases=True)

    def states(self, verdict: Verdict) -> bool:
        """Whether a verdict is what it says."""
        stated = verdict.outcome is self.outcome and self.reason in ("", verdict.reason.value)
        return stated or verdict.outcome in self.also


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What the files say about one check of one result."""

    standing: Standing
    deviation: str = ""


def shipped_deviations() -> tuple[Deviation, ...]:
    """The differences on file among the shipped cases.

    Raises:
        InvalidCases: if a file is wrong.
    """
    return load_deviations(sorted((default_root() / "deviations").glob("*.yaml")))


def load_deviations(paths: Sequence[Path]) -> tuple[Deviation, ...]:
    """Reads deviation files: a top-level list `deviations`.

    Raises:
        InvalidCases: with every problem of every file.
    """
    found: list[Deviation] = []
    problems: list[Problem] = []
    for path in paths:
        document = read(path)
        data = document.data if isinstance(document.data, dict) else {}
        try:
            found += TypeAdapter(tuple[Deviation, ...]).validate_python(data.get("deviations"))
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                steps = ("deviations", *fault["loc"])
                where = document.find(steps)[1]
                problems.append(Problem(str(where), f"{steps[-1]}: {fault['msg']}, got {fault['input']!r}"))
    for number, deviation in enumerate(found):
        if any(deviation.id == other.id for other in found[:number]):
            problems.append(Problem(", ".join(map(str, paths)), f"two deviations are called {deviation.id!r}"))
    if problems:
        raise InvalidCases(problems)
    return tuple(found)


def require_present_names(deviations: Sequence[Deviation], cases: Sequence[Case]) -> None:
    """Refuses deviations on cases by ids that these had before and that no case has now.

    Raises:
        InvalidCases: with the id to write instead.
    """
    names = {old: case.id for case in cases for old in case.was}
    problems = [
        Problem(
            f"deviation {deviation.id}",
            f"{glob!r} names no case; {old!r} is called {new!r} now, write that",
        )
        for deviation in deviations
        for glob in deviation.cases
        for old, new in names.items()
        if fnmatchcase(old, glob) and not any(fnmatchcase(case.id, glob) for case in cases)
    ]
    if problems:
        raise InvalidCases(problems)


def as_yaml(deviations: Sequence[Deviation]) -> str:
    """Deviations as a file that `load_deviations` reads; what is left open is left out."""
    usual = {item.name: item.default for item in fields(Deviation)}
    written = [
        {
            name: [*map(str, value)] if isinstance(value, tuple) else str(value)
            for name, default in usual.items()
            if (value := getattr(deviation, name)) != default or name == "checks"
        }
        for deviation in deviations
    ]
    return dump({"deviations": written})


def assess(
    case_id: str,
    operators: tuple[str, ...],
    target: Target,
    format_name: str,
    check: Check,
    verdict: Verdict,
    description: Description,
    deviations: Sequence[Deviation],
    *,
    layout: str = "native",
    may_lack: bool = False,
) -> Assessment:
    """Whether a verdict is expected: it agrees, is on file, or the backend is known to lack the operator.

    Where a mode allows less precision, that is a note. A question without an answer that an adapter cannot even put
    to its framework was not accepted either; and a framework need not have the option that a probe asks about
    (`may_lack` both).
    """
    if verdict.outcome is Outcome.UNSUPPORTED and (
        is_absent(operators, check, description) or lacks_integers(operators, format_name, description)
    ):
        return Assessment(standing="expected")
    for deviation in deviations:
        if deviation.covers(case_id, target, format_name, check, description, layout):
            if deviation.states(verdict):
                return Assessment(standing="expected", deviation=deviation.id)
            standing: Standing = "stale" if verdict.outcome is Outcome.AGREES else "unexpected"
            return Assessment(standing=standing, deviation=deviation.id)
    if verdict.outcome is Outcome.AGREES:
        return Assessment(standing="expected")
    if verdict.outcome is Outcome.LOW_PRECISION and set(INEXACT_MODES) & set(target.modes):
        return Assessment(standing="expected")
    if verdict.outcome is Outcome.UNSUPPORTED and may_lack:
        return Assessment(standing="expected")
    return Assessment(standing="unexpected")


def is_absent(operators: tuple[str, ...], check: Check, description: Description) -> bool:
    """Whether the backend is known not to have one of the operators of a question, or its gradients."""
    names = {name for operator in operators for name in (operator, f"{operator}:{check}") if operator in OPERATORS}
    return any(fnmatchcase(name, glob) for glob in description.absent for name in names)


def lacks_integers(operators: tuple[str, ...], format_name: str, description: Description) -> bool:
    """Whether a question is one on integers that the backend does not take in one of its operators."""
    taken = [glob for glob, name in description.integers if name == format_name]
    return format_name in INTEGERS and not all(any(fnmatchcase(name, glob) for glob in taken) for name in operators)
