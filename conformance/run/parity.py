"""Two models of a user's, layer by layer: do they do the same thing, and if not, which layer is the first to blame?

Both run on one input and, backwards, on one random cotangent, with the first one's weights in both. Nothing is fed
to either: every layer is judged on what it was really given. First by what it is itself, which finds what its
framework does otherwise; then the second model's layers by what their partners in the first would have made of the
same numbers, which finds what was ported otherwise. A layer further on is so never blamed for one before it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np

from conformance.case.inputs import draw_words, uniform
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.model import Case, TensorSpec, Where
from conformance.case.operators import OPERATORS
from conformance.case.traces import Trace, TracedLayer
from conformance.errors import ImpossibleShape
from conformance.formats import FORMATS, Float64
from conformance.run.hosted import HostedModel
from conformance.run.lines import written
from conformance.run.pairing import Pairing, pair_layers
from conformance.verdict import oracle
from conformance.verdict.diagnosis import Diagnosis, Differing, diagnose
from conformance.verdict.free_running import RUNS, SIGMAS, deviation
from conformance.verdict.judge import Judgement, judge
from conformance.verdict.model import Outcome, Reason, Verdict
from conformance.verdict.oracle import REFERENCE_UNIT, Accumulators, Expectations, MustRefuse
from conformance.verdict.variants import evaluate, variants_of

# Layers of models are larger than cases, and few of them differ.
DIAGNOSIS_SECONDS: Final = 10.0
_NOWHERE: Final = Where(path=Path("a model"), line=0, column=0)
# How an operator is read that has no other reading by definition.
_PLAIN: Final = "as it is defined"
_FINE: Final = (Outcome.AGREES, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong with a layer, in words that a porter can use.

    Attributes:
        verdict: the worst of outputs and gradients.
        agrees_with: other readings that explain all of it.
        location: where it starts to differ.
        otherwise: attributes that differ, (name, here, there); of a layer against its partner.
        write: the line that does what the partner does.
    """

    verdict: Verdict
    agrees_with: tuple[str, ...] = ()
    location: str = ""
    otherwise: tuple[tuple[str, str, str], ...] = ()
    write: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerParity:
    """A pair of layers.

    Attributes:
        first, second: their names.
        native_first, native_second: how their frameworks write them.
        own_first, own_second: where one is not even what its own framework says that it is.
        ported: where the second does not do what the first would have done.
        ratio: the largest error over its room, of all that was judged.
    """

    first: str
    second: str
    native_first: str
    native_second: str
    own_first: Finding | None = None
    own_second: Finding | None = None
    ported: Finding | None = None
    ratio: float = 0.0

    @property
    def agrees(self) -> bool:
        """Nothing is wrong with either."""
        return self.own_first is None and self.own_second is None and self.ported is None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """The models' outputs against each other, run free: the place with the largest error over its radius."""

    output: int
    error: float
    radius: float
    shapes: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def within(self) -> bool:
        """Rounding explains the difference; an estimate."""
        return self.shapes[0] == self.shapes[1] and self.error <= self.radius


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """What came of two models.

    Attributes:
        layers: the pairs, in the order of the first model.
        only_first, only_second: layers without a partner, as their frameworks write them.
        unrecognised_first, unrecognised_second: what nobody judges.
        carried: how many parameters the second got from the first.
        not_carried: parameters of either side that have no counterpart on the other.
        ends: by output; none where a model broke off.
        failures: what a model raised.
        nonfinite: the first layer of a model that gave NaN or infinity for finite numbers.
    """

    first: str
    second: str
    layers: tuple[LayerParity, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    unrecognised_first: tuple[str, ...]
    unrecognised_second: tuple[str, ...]
    carried: int
    not_carried: tuple[str, ...]
    ends: tuple[EndToEnd, ...]
    failures: tuple[str, ...] = ()
    nonfinite: tuple[str, ...] = ()

    @property
    def guilty(self) -> tuple[LayerParity, ...]:
        """The pairs that differ, the first one first."""
        return tuple(layer for layer in self.layers if not layer.agrees)

    @property
    def agrees(self) -> bool:
        """No pair differs, both came to their end, and rounding explains what is between the ends."""
        return not self.guilty and not self.failures and bool(self.ends) and all(end.within for end in self.ends)


def compare_models(
    first: HostedModel, second: HostedModel, inputs: Sequence[Tensor], names: Mapping[str, str] | None = None
) -> Parity:
    """Compares two models; the second one's weights are overwritten with the first one's.

    Args:
        first: what is ported.
        second: the port.
        inputs: channels last.
        names: pairs of layers that are given.

    Raises:
        InvalidModel, ModelFailed: see `HostedModel`; a second model that raises on the way is told in the result.
    """
    start = first.run_whole(inputs)
    pairing = pair_layers(start.layers, second.run(inputs).layers, names)
    parameters = carried_parameters(pairing)
    second.put(parameters)
    cotangents = [_cotangent(place, output) for place, output in enumerate(start.outputs)]
    one = first.run_whole(inputs, cotangents)
    forwards = second.run(inputs)
    alike = [output.shape for output in forwards.outputs] == [output.shape for output in one.outputs]
    heads = cotangents if alike else [_cotangent(place, output) for place, output in enumerate(forwards.outputs)]
    two = forwards if forwards.failure else second.run(inputs, heads)
    found = pair_layers(one.layers, two.layers, names if not two.failure else None)
    return Parity(
        first=first.spec.name,
        second=second.spec.name,
        layers=tuple(
            judge_pair(a, b, first.accumulators, second.accumulators, second.spec.framework) for a, b in found.pairs
        ),
        only_first=tuple(f"{layer.name}: {layer.native}" for layer in found.only_first),
        only_second=tuple(f"{layer.name}: {layer.native}" for layer in found.only_second),
        unrecognised_first=one.unrecognised,
        unrecognised_second=two.unrecognised,
        carried=len(parameters),
        not_carried=() if two.failure else _not_carried(pairing),
        ends=() if two.failure else _ends(first, inputs, one, two),
        failures=(f"{second.spec.name}: {two.failure}",) if two.failure else (),
        nonfinite=(*_nonfinite(first.spec.name, one), *_nonfinite(second.spec.name, two)),
    )


def _nonfinite(model: str, trace: Trace) -> tuple[str, ...]:
    """The first layer that makes NaN or infinity of finite numbers, and where."""
    for layer in trace.layers:
        given = all(np.isfinite(tensor.data).all() for tensor in layer.operands.values())
        places = np.argwhere(~np.isfinite(layer.output.data))
        if given and len(places):
            first = places[0].tolist()
            return (f"{model}: {layer.name} gives {layer.output.data[tuple(first)]} at {first} for finite numbers",)
    return ()


# Weights ------------------------------------------------------------------------------------------------------------


def carried_parameters(pairing: Pairing) -> dict[str, Tensor]:
    """The first model's parameters by the second one's names; where the first has none, what changes nothing."""
    found: dict[str, Tensor] = {}
    for a, b in pairing.pairs:
        for operand, name in b.parameters.items():
            own = b.operands[operand]
            if operand in a.parameters and a.operands[operand].shape == own.shape:
                found[name] = a.operands[operand]
            elif operand in ("b", "offset", "scale"):
                neutral = np.full(own.shape, operand == "scale", own.data.dtype)
                found[name] = Tensor(own.format, neutral)
    return found


def _not_carried(pairing: Pairing) -> tuple[str, ...]:
    told = [
        f"{a.name}: {native} has no counterpart in {b.name}"
        for a, b in pairing.pairs
        for operand, native in a.parameters.items()
        if operand not in b.parameters
    ]
    told += [
        f"{layer.name}: {', '.join(layer.parameters.values())}, without a partner"
        for layer in (*pairing.only_first, *pairing.only_second)
        if layer.parameters
    ]
    return tuple(told)


# Layers -------------------------------------------------------------------------------------------------------------


def judge_pair(
    a: TracedLayer, b: TracedLayer, of_first: Accumulators, of_second: Accumulators, framework: str
) -> LayerParity:
    """Judges two layers on what each was given: by itself, and the second by what the first would have made of it."""
    own_first, ratio_first = _finding(a, a, of_first)
    own_second, ratio_second = _finding(b, b, of_second)
    ported, ratio = (None, 0.0) if own_second is not None else _finding(b, a, of_second)
    if ported is not None:
        otherwise = _otherwise(a, b)
        # By which count the running variance is divided is nowhere an option.
        mended = any(name != "bessel" for name, _, _ in otherwise) or not otherwise
        ported = replace(ported, otherwise=otherwise, write=written(framework, a) if mended else "")
    return LayerParity(
        first=a.name,
        second=b.name,
        native_first=a.native,
        native_second=b.native,
        own_first=own_first,
        own_second=own_second,
        ported=ported,
        ratio=max(ratio_first, ratio_second, ratio),
    )


def question(layer: TracedLayer, asked: TracedLayer) -> tuple[Job, Outputs] | None:
    """What a layer was given as a question to another one, and what it gave as the answer.

    None where the other one takes another number of activations.
    """
    operators = OPERATORS[asked.operator]
    mine = [name for name in layer.operands if name not in layer.parameters]
    theirs = [name for name in asked.operands if name not in asked.parameters]
    if len(mine) != len(theirs):
        return None
    names = dict(zip(mine, theirs, strict=True)) | {name: name for name in layer.parameters}
    given = {theirs: layer.operands[own] for own, theirs in names.items()}
    operands = {
        operand.name: given.get(operand.name, asked.operands[operand.name])
        for operand in operators.operands
        if operand.name in asked.operands
    }
    shapes = {name: tensor.shape for name, tensor in operands.items()}
    try:
        same = operators.shapes(asked.attributes, shapes)["output"] == layer.output.shape
    except ImpossibleShape:
        same = False  # the reference says why
    cotangent = layer.cotangent if same else None
    job = Job(
        case_id=layer.name,
        operator=asked.operator,
        attributes=asked.attributes,
        format=layer.output.format,  # type: ignore[arg-type]  # a model's formats are the house's
        layout="native",
        data="given",
        operands=operands,
        cotangents={"output": cotangent} if cotangent is not None else {},
    )
    gradients = {names[name]: gradient for name, gradient in layer.gradients.items() if names[name] in operands}
    kept = {names[name]: kept for name, kept in layer.statistics.items() if names[name] in operators.outputs}
    return job, Outputs(outputs={"output": layer.output, **kept}, gradients=gradients)


def expectation(job: Job, reading: str, accumulators: Accumulators) -> Expectations | MustRefuse:
    """What a job must give where its operator is read in another way by definition."""
    variant = next((one for one in variants_of(job.operator, job.format) if one.name == reading), None)
    found = None
    if variant is not None:
        found = evaluate((variant,), job, lambda asked, exact: oracle.expect(asked, accumulators, exact=exact))
    return found if found is not None else oracle.expect(job, accumulators)


def _finding(layer: TracedLayer, asked: TracedLayer, accumulators: Accumulators) -> tuple[Finding | None, float]:
    """What is wrong with a layer that should be another one, or itself; and its largest ratio."""
    put = question(layer, asked)
    if put is None:
        detail = f"{layer.operator} takes another number of inputs than {asked.operator}"
        return Finding(verdict=Verdict(outcome=Outcome.DIFFERS, reason=Reason.SHAPE, detail=detail)), math.inf
    job, answer = put
    expected = expectation(job, asked.reading, accumulators)
    if isinstance(expected, MustRefuse):
        verdict = judge(_case(job), job, answer, expected, exact=False).verdicts["outputs"]
        return Finding(verdict=verdict), math.inf
    wanted = Expectations(
        outputs={name: one for name, one in expected.outputs.items() if name in answer.outputs},
        gradients={name: one for name, one in expected.gradients.items() if name in answer.gradients},
    )
    asked_job = job if wanted.gradients else replace(job, cotangents={})
    judgement = judge(_case(job), asked_job, answer, wanted, exact=False)
    ratio = max((comparison.ratio for comparison in judgement.comparisons), default=0.0)
    worst = _worst(judgement)
    if worst.outcome in _FINE:
        return None, ratio
    found = diagnose(
        [Differing(job=asked_job, answer=answer, expected=wanted)], accumulators, seconds=DIAGNOSIS_SECONDS
    )
    return _told(worst, found), ratio


def _told(verdict: Verdict, found: Diagnosis) -> Finding:
    return Finding(verdict=verdict, agrees_with=found.agrees_with, location=found.location)


def _worst(judgement: Judgement) -> Verdict:
    return max(judgement.verdicts.values(), key=lambda verdict: verdict.outcome.severity)


def _case(job: Job) -> Case:
    return Case(
        id=job.case_id,
        operator=job.operator,
        attributes=job.attributes,
        inputs={name: TensorSpec(shape=tensor.shape) for name, tensor in job.operands.items()},
        where=_NOWHERE,
    )


def _otherwise(a: TracedLayer, b: TracedLayer) -> tuple[tuple[str, str, str], ...]:
    """Operators, or attributes by name, that differ."""
    if a.operator != b.operator:
        return (("operator", a.operator, b.operator),)
    found = [
        (field.name, repr(one), repr(two))
        for field in fields(a.attributes)
        if (one := getattr(a.attributes, field.name)) != (two := getattr(b.attributes, field.name))
    ]
    if a.reading != b.reading:
        found.append(("reading", a.reading or _PLAIN, b.reading or _PLAIN))
    return tuple(found)


# From end to end ----------------------------------------------------------------------------------------------------


def _cotangent(place: int, output: Tensor) -> Tensor:
    """A random cotangent of an output, in -1..1: from the place alone, so that both models get the same."""
    words = draw_words(b"parity", f"cotangent {place}", output.data.size)
    return Tensor(output.format, (2 * uniform(words) - 1).reshape(output.shape).astype(output.data.dtype))


def _ends(first: HostedModel, inputs: Sequence[Tensor], one: Trace, two: Trace) -> tuple[EndToEnd, ...]:
    """The outputs against each other, beside a Monte-Carlo radius: an estimate, as in `verdict.free_running`.

    The first model runs again and again, in its own arithmetic, with the noise of an honest layer after every layer.
    Two honest models differ by root 2 of what one strays by.
    """
    deviations = _deviations(first, one)
    spread: list[Float64] = [np.zeros(output.shape) for output in one.outputs]
    for run in range(RUNS):
        noise = {
            name: Tensor(
                one_format,
                (sigma * _drawn(f"{run} {name}", sigma.shape)).astype(one_format),
            )
            for name, (sigma, one_format) in deviations.items()
        }
        for place, output in enumerate(first.outputs_with(inputs, noise)):
            spread[place] += np.square(oracle.to_float64(output) - oracle.to_float64(one.outputs[place]))
    ends = []
    for place, (a, b) in enumerate(zip(one.outputs, two.outputs, strict=False)):
        if a.shape != b.shape:
            ends.append(EndToEnd(output=place, error=math.inf, radius=0.0, shapes=(a.shape, b.shape)))
            continue
        value, got = oracle.to_float64(a), oracle.to_float64(b)
        format_ = FORMATS[a.format]
        radius = SIGMAS * np.sqrt(2 * spread[place] / RUNS) + format_.unit * np.abs(value) + format_.eta
        error = np.abs(got - value)
        worst = int(np.argmax(error / radius)) if error.size else 0
        ends.append(
            EndToEnd(
                output=place,
                error=float(error.ravel()[worst]) if error.size else 0.0,
                radius=float(radius.ravel()[worst]) if error.size else 0.0,
                shapes=(a.shape, b.shape),
            )
        )
    return tuple(ends)


def _drawn(label: str, shape: tuple[int, ...]) -> Float64:
    """Uniform numbers of deviation 1."""
    words = draw_words(b"parity", f"noise {label}", math.prod(shape))
    return math.sqrt(3) * (2 * uniform(words).reshape(shape) - 1)


def _deviations(first: HostedModel, trace: Trace) -> dict[str, tuple[Float64, str]]:
    """By how much what an honest layer gives strays, by layer."""
    found = {}
    for layer in trace.layers:
        put = question(layer, layer)
        if put is None or layer.output.format not in FORMATS:
            continue
        job = replace(put[0], cotangents={})
        expected = expectation(job, layer.reading, first.accumulators)
        if isinstance(expected, Expectations):
            unit = first.accumulators.of(layer.operator, job.format, "outputs", "output").unit + REFERENCE_UNIT
            sigma = deviation(expected.outputs["output"], unit, FORMATS[job.format].unit)
            found[layer.last or layer.name] = (sigma, layer.output.format)
    return found
