"""A training's page: everybody's losses, how far they are from the reference's, and how far honest ones drift."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from markupsafe import Markup

from conformance.report import charts
from conformance.run.plan import REFERENCE
from conformance.run.yardstick import FACTOR, LEAD, STEPS, farthest

# How the yardstick is called among the curves.
HONEST: Final = "honest rounding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted:
    """One backend beside the yardstick; `outside` is None where every measured step is inside."""

    outside: int | None
    ratio: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two backends whose judged steps all agreed, and the largest distance of their losses in the measured steps."""

    names: tuple[str, str]
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One training by everyone.

    Attributes:
        stray: the largest distance of the yardstick's losses from the reference's; None where it was not measured.
        measured: so many steps it has.
    """

    id: str
    about: str
    records: Mapping[str, Mapping[str, Any]]
    accuracy: float | None
    lines: tuple[charts.Line, ...]
    losses: Markup
    distances: Markup
    drifts: Mapping[str, Drifted]
    pairs: tuple[Pair, ...] = ()
    stray: float | None = None
    measured: int = STEPS
    factor: float = FACTOR
    lead: int = LEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """One native training by one backend: accuracies by seed and epoch, and how they lie to the reference's."""

    id: str
    target: str
    accuracies: tuple[tuple[float, ...], ...]
    reference: tuple[tuple[float, ...], ...]
    median: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    standing: str = ""


def seeded(trainings: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[Seeded, ...]:
    """Every native training, by form and backend."""
    return tuple(
        _seeded(form, target, record["native"])
        for form, records in trainings.items()
        for target, record in records.items()
        if "native" in record
    )


def _seeded(form: str, target: str, native: Mapping[str, Any]) -> Seeded:
    accuracies = tuple(tuple(charts.numbers(run)) for run in native["accuracies"])
    e = native.get("equivalence") or {}
    return Seeded(
        id=form,
        target=target,
        accuracies=accuracies,
        reference=tuple(tuple(charts.numbers(run)) for run in native["reference"]),
        median=statistics.median(run[-1] for run in accuracies) if accuracies else None,
        standing=str(e.get("standing", "")),
        **{name: float(e[name]) for name in ("difference", "low", "high", "margin") if name in e},
    )


def forms(trainings: Mapping[str, Mapping[str, Mapping[str, Any]]], abouts: Mapping[str, str]) -> tuple[Form, ...]:
    """Every training that was followed step by step, with its sentence where it is known."""
    followed = {
        form: {target: record for target, record in records.items() if "native" not in record}
        for form, records in trainings.items()
    }
    return tuple(shown(form, records, abouts.get(form, "")) for form, records in followed.items() if records)


def shown(form: str, records: Mapping[str, Mapping[str, Any]], about: str = "") -> Form:
    """A form's records, backends alone; the reference's curve comes from its own record, or is told beside theirs."""
    backends = {target: record for target, record in records.items() if target != REFERENCE.name}
    lines = [
        charts.Line(name=target, values=charts.numbers(record.get("losses"))) for target, record in backends.items()
    ]
    own = records.get(REFERENCE.name, {})
    # In mixed precision a yardstick of its own is the measure, which is not that of the others.
    plain = {target: record for target, record in backends.items() if not record.get("layer_formats")}

    def told(name: str, beside: str) -> list[float]:
        found = [own.get(name), *(record.get(beside) for record in backends.values())]
        return charts.numbers(next(filter(None, found), ()))

    reference = told("losses", "reference_losses")
    strays = charts.numbers(next(filter(None, (record.get("stray_losses") for record in (own, *plain.values()))), ()))
    accuracies = [own.get("accuracy"), *(record.get("reference_accuracy") for record in backends.values())]
    every = [charts.Line(name=REFERENCE.name, values=reference), *lines]
    yardstick = [charts.Line(name=HONEST, values=strays)] if strays else []
    return Form(
        id=form,
        about=about,
        records=backends,
        accuracy=next((accuracy for accuracy in accuracies if accuracy is not None), None),
        lines=tuple(every),
        losses=charts.losses(every, f"{form}, training loss"),
        distances=charts.distances([*lines, *yardstick], reference, f"{form}, distance from the reference"),
        drifts={target: _drifted(record["drift"]) for target, record in backends.items() if record.get("drift")},
        pairs=_pairs(plain, len(strays)),
        stray=float(farthest(strays, reference)[-1]) if strays and reference else None,
        measured=len(strays),
    )


def _drifted(record: Mapping[str, Any]) -> Drifted:
    return Drifted(outside=record["outside"], ratio=float(record["ratio"]), steps=int(record["steps"]))


def _pairs(backends: Mapping[str, Mapping[str, Any]], steps: int) -> tuple[Pair, ...]:
    """Every two backends that are honest as far as they were judged."""
    honest: dict[str, Sequence[float]] = {
        target: losses
        for target, record in backends.items()
        if record.get("first_judged_difference") is None and (losses := charts.numbers(record.get("losses"))[:steps])
    }
    return tuple(
        Pair(names=(one, other), distance=float(farthest(honest[one], honest[other])[-1]))
        for one, other in combinations(honest, 2)
    )
