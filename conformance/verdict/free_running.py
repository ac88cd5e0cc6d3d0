"""A chain from end to end, beside its verdict: how far its last output may honestly be, by a Monte-Carlo radius.

Layers are judged one by one on what they were really given; a proved bound from end to end is valid and useless. Here
the reference runs a chain free, in float64, once clean and `RUNS` times with noise after every layer, forwards and
backwards, and what a backend gave is measured against the spread. That is an estimate: it makes a note, never a
verdict. In float64 there is nothing to hold a backend to: the reference's own roundings are as large.

The noise models an honest layer, which reaches v by n roundings and stores it. Storing moves it by at most u |v|,
taken as uniform. The bound e = n u S (see `oracle`) has every rounding at its worst and all of one sign; independent
ones, uniform in +-u S each, have the variance n (u S)^2 / 3 = e u S / 3. (Higham and Mary, A new approach to
probabilistic rounding error analysis, 2019, prove this law of sqrt(n) under weaker assumptions.) S is at most the
expectation's scale; an e below one such rounding is taken as uniform itself. Both are drawn as one uniform number of
their joint variance, seeded by the numbers of the question.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

import numpy as np

from conformance.case.inputs import digest, draw_words, uniform
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.model import Check, FormatName
from conformance.case.operators import INPUT, Chain, Layer, own_of
from conformance.formats import FORMATS, Float64, Format, from_storage
from conformance.verdict import oracle
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import REFERENCE_UNIT, Accumulators, Expectations, MustRefuse

# The deviation of 16 numbers is known to 18 percent.
RUNS: Final = 16
# How many deviations an honest result may be away: with the doubt above, still above four true ones.
SIGMAS: Final = 6
# Operands and outputs together, up to which every element has a deviation of its own: a larger chain would take more
# than half a second.
OWN_ELEMENTS: Final = 1 << 14
# A larger one is run this often, and the elements of an array share their deviation, the root of the mean square.
SHARED_RUNS: Final = 2
# Beyond, a network would take more than a few seconds.
MOST_ELEMENTS: Final = 1 << 21

# An output by its layer; a gradient by its operand, or by the layer whose output it is with respect to.
Title = tuple[Check, str]
Arrays = dict[Title, Float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeRun:
    """How far a chain's last output and its gradients are from the reference's own, run free.

    Attributes:
        name, check: the array with the largest ratio.
        error, radius, ratio: where error / radius is largest in it; 1 and less is what honest rounding may do.
        skipped: why nothing was measured.
        first: the first layer, forwards and then backwards, whose own ratio is above 1: where more was lost than
            rounding explains; empty if there is none.
    """

    name: str = ""
    check: Check = "outputs"
    error: float = 0.0
    radius: float = 0.0
    ratio: float = 0.0
    skipped: str = ""
    first: str = ""

    @property
    def text(self) -> str:
        """One line for people."""
        if self.skipped:
            return f"from end to end: {self.skipped}"
        what = self.name if self.check == "outputs" else f"gradient of {self.name}"
        return (
            f"from end to end: {what} is off by {self.error:.3g}, where rounding explains about {self.radius:.3g} "
            f"(ratio {self.ratio:.3g})" + (f"; it leaves that first at {self.first}" if self.first else "")
        )


def free_run(job: Job, answer: Outputs, accumulators: Accumulators) -> FreeRun | None:
    """Measures a chain's answer from end to end; None where there is nothing to compare."""
    if job.format == "float64":
        return None
    chain: Chain = job.attributes
    numbers = {**job.operands, **job.cotangents, **answer.outputs}
    elements = sum(tensor.data.size for tensor in numbers.values())
    if elements > MOST_ELEMENTS:
        return FreeRun(skipped=f"not measured, {elements:,} numbers are more than {MOST_ELEMENTS:,}")
    with np.errstate(all="ignore"):
        clean = _Clean.of(job, accumulators)
        if clean is None:
            return None
        shared = elements > OWN_ELEMENTS
        runs = SHARED_RUNS if shared else RUNS
        seed = digest(job.operands, job.cotangents).encode()
        spread = {title: np.zeros(value.shape) for title, value in clean.values.items()}
        for run in range(runs):
            for title, value in _run(job, _noise(clean.deviations, seed, run)).items():
                spread[title] += np.square(value - clean.values[title])
        if shared:
            spread = {title: np.full(found.shape, np.mean(found)) for title, found in spread.items()}
    notes = []
    first = ""
    for title, value in clean.values.items():
        got = _got(answer, title)
        if got is None or got.shape != value.shape or got.format != job.format:
            continue
        note = _measured(title, got, value, np.sqrt(spread[title] / runs), FORMATS[job.format])
        if note.ratio > 1 and not first:
            first = note.name if note.check == "outputs" else f"the gradient of {note.name}"
        # What passes between layers is no answer of the chain's.
        if title[1] in (job.operands if title[0] == "gradients" else chain.ends):
            notes.append(note)
    worst = max(notes, key=lambda note: note.ratio, default=None)
    return None if worst is None else replace(worst, first=first)


def _got(answer: Outputs, title: Title) -> Tensor | None:
    check, name = title
    found = answer.outputs.get(name) if check == "outputs" else answer.gradients.get(name)
    return found if isinstance(found, Tensor) else None


def _measured(title: Title, got: Tensor, value: Float64, sigma: Float64, format_: Format) -> FreeRun:
    """The element that is the farthest from its value, counted in radii."""
    check, name = title
    with np.errstate(all="ignore"):
        error = np.abs(from_storage(got.data, format_) - value)
        # The clean run's own place between two numbers of the format, and what may be flushed.
        radius = SIGMAS * sigma + format_.unit * np.abs(value) + format_.eta
        ratio = np.where(error == 0, 0.0, error / radius)
    ratio = np.where(np.isnan(ratio), 0.0, ratio)  # NaN and infinities are the layers' verdicts to tell
    if not ratio.size:
        return FreeRun(name=name, check=check)
    worst = int(np.argmax(ratio))
    return FreeRun(
        name=name,
        check=check,
        error=float(error.ravel()[worst]),
        radius=float(radius.ravel()[worst]),
        ratio=float(ratio.ravel()[worst]),
    )


# Running free -------------------------------------------------------------------------------------------------------

# What becomes of an array of a layer before the next one takes it.
Take = Callable[[Layer, Title, Expectation], Float64]
Ask = Callable[[Layer, Job], Expectations | MustRefuse]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Clean:
    """The chain without noise: its numbers, and by how much an honest layer's stray from each of them."""

    values: Arrays
    deviations: Arrays

    @classmethod
    def of(cls, job: Job, accumulators: Accumulators) -> "_Clean | None":
        """None where the reference refuses."""
        deviations: Arrays = {}

        def keep(layer: Layer, title: Title, expectation: Expectation) -> Float64:
            check, name = title
            array = "output" if check == "outputs" else name.rpartition("/")[2]
            unit = accumulators.of(layer.operator, job.format, check, array).unit + REFERENCE_UNIT
            deviations[title] = deviation(expectation, unit, FORMATS[job.format].unit)
            return expectation.value

        values = _walk(job, lambda _, own: oracle.expect(replace(own, format=job.format), accumulators), keep)
        return None if values is None else cls(values=values, deviations=deviations)


def deviation(expectation: Expectation, unit: float, stored: float) -> Float64:
    """The standard deviation of an honest layer's error by element; see the module for the model."""
    e = np.where(np.isfinite(expectation.bound), expectation.bound, 0.0)
    rounding = unit * np.where(np.isfinite(expectation.scale), expectation.scale, 0.0)
    summed = np.minimum(np.square(e), e * rounding)
    storing = np.square(stored * np.where(np.isfinite(expectation.value), expectation.value, 0.0))
    # What moves elements alone is exact, and stores what was stored.
    untouched = (e == 0) & (expectation.scale == 0)
    return np.where(untouched, 0.0, np.sqrt((summed + storing) / 3))


def _noise(deviations: Arrays, seed: bytes, run: int) -> Take:
    def take(layer: Layer, title: Title, expectation: Expectation) -> Float64:
        value = expectation.value
        words = draw_words(seed, f"noise {run} {' '.join(title)}", value.size)
        # A uniform number in -1..1 has the deviation 1 / sqrt(3).
        drawn = math.sqrt(3) * (2 * uniform(words).reshape(value.shape) - 1)
        return value + deviations[title] * drawn

    return take


def stray(job: Job, accumulators: Accumulators, seed: str) -> Arrays:
    """A chain as some honest framework may compute it in the job's format: every array with noise of its own size.

    Args:
        job: the chain, with cotangents.
        accumulators: what the framework sums in, and computes its layers in.
        seed: which of the honest ones.

    Returns:
        By (check, name): outputs of layers, gradients of parameters and of layers' outputs; nothing is rounded.
    """
    deviations: Arrays = {}
    noise = _noise(deviations, seed.encode(), 0)
    formats = accumulators.of_layers(job.attributes, job.format)

    def take(layer: Layer, title: Title, expectation: Expectation) -> Float64:
        check, name = title
        array = "output" if check == "outputs" else name.rpartition("/")[2]
        computed, _ = formats[layer.name]
        unit = accumulators.of(layer.operator, computed, check, array).unit + REFERENCE_UNIT
        honest = deviation(expectation, unit, FORMATS[computed].unit)
        # A sum of zeros alone is zero: moved, it would wake a unit that sleeps at its kink, or break a tie.
        deviations[title] = np.where(expectation.value == 0, 0.0, honest)
        return noise(layer, title, expectation)

    def ask(layer: Layer, own: Job) -> Expectations | MustRefuse:
        computed, _ = formats[layer.name]
        if accumulators.layer_formats:
            # A cast rounds what is kept in another format, always alike: that is no noise.
            seen = oracle.rounded({name: tensor.data for name, tensor in own.operands.items()}, computed)
            own = replace(
                own, operands={name: replace(tensor, data=seen[name]) for name, tensor in own.operands.items()}
            )
        return oracle.expect(replace(own, format=cast(FormatName, computed)), accumulators)

    with np.errstate(all="ignore"):
        values = _walk(job, ask, take)
    assert values is not None, job.case_id
    return values


def _run(job: Job, take: Take) -> Arrays:
    """The chain without bounds; it was answered before, with other numbers of the same shapes."""
    values = _walk(job, lambda _, own: oracle.values(own), take)
    assert values is not None
    return values


def _walk(job: Job, ask: Ask, take: Take) -> Arrays | None:
    """A chain layer by layer, forwards then backwards, nothing rounded in between; None where a layer refuses."""
    chain: Chain = job.attributes
    values: Arrays = {}
    asked: list[tuple[Layer, Mapping[str, str], Job]] = []
    for layer, takes in chain.wired():
        given = {
            name: _as_float64(job.operands[INPUT]) if source == INPUT else _output(values, source)
            for name, source in takes.items()
        }
        own = {name: _as_float64(tensor) for name, tensor in own_of(layer, job.operands).items()}
        question = replace(
            job, operator=layer.operator, attributes=layer.attributes, operands=given | own, cotangents={}
        )
        asked.append((layer, takes, question))
        found = ask(layer, question)
        if isinstance(found, MustRefuse):
            return None
        title: Title = ("outputs", layer.name)
        values[title] = take(layer, title, found.outputs["output"])
    # By layer, what the layers that take its output pull back.
    pulled = {name: [_as_float64(tensor).data] for name, tensor in job.cotangents.items()}
    for layer, takes, question in reversed(asked):
        if layer.name not in pulled:
            continue
        title = ("gradients", layer.name)
        total = np.sum(pulled[layer.name], axis=0)
        if layer.name not in job.cotangents:
            values[title] = total
        found = ask(layer, replace(question, cotangents={"output": Tensor("float64", total)}))
        if isinstance(found, MustRefuse):
            return None
        for name, expectation in found.gradients.items():
            title = ("gradients", f"{layer.name}/{name}")
            value = take(layer, title, expectation)
            if name in takes:
                pulled.setdefault(takes[name], []).append(value)
            else:
                values[title] = value
    if INPUT in pulled:
        values["gradients", INPUT] = np.sum(pulled[INPUT], axis=0)
    return values


def _output(values: Arrays, layer: str) -> Tensor:
    return Tensor("float64", values["outputs", layer])


def _as_float64(tensor: Tensor) -> Tensor:
    """The same numbers in float64; integers and masks stay."""
    if tensor.format not in FORMATS:
        return tensor
    return Tensor("float64", from_storage(tensor.data, FORMATS[tensor.format]))
