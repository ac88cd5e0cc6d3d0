"""What the NumPy reference expects, with the proved bound of an honest computation.

For a job in format F whose accumulator has unit roundoff u, every element may be off by

    e = gamma_n(u + 2^-53) S + n eta,    gamma_n(u) = n u / (1 - n u),

for any order of summation, blocking or fused multiply-add; 2^-53 is the reference's own rounding, n, S and the count
of underflows come from the reference's `magnitude`. On integers whose products sum below 2^p the result is exact; so
is everything in formats of integers, which every partial sum must fit.

Where a backend stores the sum m = v - b before it adds the bias, what it adds to lies, rounding being monotone,
between round(m - e) and round(m + e), and v may be missed by as much as either end plus b does: at most
u_F (|m| + e) + e, but 0 for an integer m that the format holds. Adding is one rounding in the accumulator, for
u |v| more, where it is not the last one; rounding once stays within, too. What is declared is allowed, not demanded.
"""

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from conformance import reference
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.job import AS_GIVEN, Answer, Description, Job, Outputs, Refused, Tensor
from conformance.case.operators import INPUT, OPERATORS, Chain, Layer, named_outputs, output_format, own_of
from conformance.errors import InvalidData
from conformance.formats import (
    FORMATS,
    INTEGERS,
    STORED,
    Float64,
    Format,
    from_storage,
    largest_integer,
    round_to,
    to_storage,
)
from conformance.reference.laws import Law
from conformance.reference.magnitude import BELOW_INTEGERS, Magnitude, Magnitudes, gamma, once
from conformance.reference.operators import LAWS
from conformance.reference.padding import InvalidShape
from conformance.reference.transforms import convolution_norms
from conformance.verdict.model import ZERO, Drawn, Expectation, Sample, Thinned, exactly
from conformance.verdict.references import REFERENCE
from conformance.verdict.scan import are_integers

REFERENCE_UNIT: Final = 2.0**-53
# How many roundings of a norm's size a transform algorithm's error may have.
TRANSFORM_GROWTH: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expectations:
    """What a job's answer must be: outputs and gradients by name, or what its outputs are samples of."""

    outputs: Mapping[str, Expectation]
    gradients: Mapping[str, Expectation]
    samples: Mapping[str, Sample] = field(default_factory=dict)
    tangents: Mapping[str, Expectation] = field(default_factory=dict)
    second: Mapping[str, Expectation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MustRefuse:
    """The reference has no answer, so nobody may have one."""

    why: str


@dataclass(frozen=True, slots=True)
class Accumulators:
    """In which format a backend accumulates, where that is not the storage format, and what it stores twice.

    And the formats of a chain's layers, where those are not the chain's own: `Description.layer_formats`.
    """

    declared: tuple[tuple[str, str, str, str], ...] = ()
    stored_sums: tuple[tuple[str, str], ...] = ()
    layer_formats: tuple[tuple[str, str, str], ...] = ()

    def of(self, operator: str, format_name: str, check: str, name: str) -> Format:
        """The accumulator's format for one array of an operator in a storage format; the first match counts."""
        meant = (f"{check}/{name}", check, "*")
        for glob, storage, declared_check, accumulator in self.declared:
            if storage == format_name and declared_check in meant and fnmatchcase(operator, glob):
                return FORMATS[accumulator]
        return STORED[format_name]

    def stores_sum(self, operator: str, format_name: str) -> bool:
        """Whether a sum may be stored before the bias is added."""
        return any(storage == format_name and fnmatchcase(operator, glob) for glob, storage in self.stored_sums)

    def beyond_storage(self, operator: str, format_name: str) -> bool:
        """Whether any array of an operator is declared to be summed in another format than it is stored in."""
        return any(
            storage == format_name != accumulator and fnmatchcase(operator, glob)
            for glob, storage, _, accumulator in self.declared
        )

    def of_layers(self, chain: Chain, format_name: str) -> dict[str, tuple[str, str]]:
        """By layer of a chain, the format that it computes in, and that of what it gives; the first match counts.

        `AS_GIVEN` is the widest format of what other layers hand it.
        """
        given = {INPUT: format_name}
        found: dict[str, tuple[str, str]] = {}
        for layer, takes in chain.wired():
            computed = gives = format_name
            for glob, *declared in self.layer_formats:
                if fnmatchcase(layer.operator, glob):
                    widest = max((given[name] for name in takes.values()), key=lambda name: FORMATS[name].precision)
                    computed, gives = (widest if name == AS_GIVEN else name for name in declared)
                    break
            found[layer.name] = computed, gives
            given[layer.name] = gives
        return found

    @classmethod
    def from_description(cls, description: Description) -> "Accumulators":
        """What a backend declares."""
        return cls(description.accumulators, description.stored_sums, description.layer_formats)


def reference_digest() -> str:
    """Sixteen hexadecimal digits that name the reference's source: what it computed may be kept while they stay."""
    total = hashlib.sha256()
    for file in sorted(Path(reference.__path__[0]).glob("*.py")):
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()[:16]


def to_float64(tensor: Tensor) -> Any:
    """A tensor's numbers for the reference: float64, or integers and booleans as they are."""
    return from_storage(tensor.data, FORMATS[tensor.format]) if tensor.format in FORMATS else tensor.data


def in_float64(job: Job) -> tuple[dict[str, Any], dict[str, Float64]]:
    """A job's operands and cotangents, by name, for the reference."""
    if job.format in INTEGERS:  # its operands are numbers, not labels
        return {name: from_storage(tensor.data, STORED[job.format]) for name, tensor in job.operands.items()}, {}
    operands = {name: to_float64(tensor) for name, tensor in job.operands.items()}
    return operands, {name: to_float64(tensor) for name, tensor in job.cotangents.items()}


def attribute_values(attributes: Any) -> dict[str, Any]:
    """An operator's attributes as keyword arguments."""
    return {field.name: getattr(attributes, field.name) for field in fields(attributes)}


def expect(job: Job, accumulators: Accumulators, *, exact: bool = True) -> Expectations | MustRefuse:
    """What the answer to a job must be; a chain's needs the answer, see `expect_chain`.

    Without `exact` integers get the bound of any other numbers, for what rounds their sums afterwards.
    """
    try:
        if OPERATORS[job.operator].random:
            return _expect_samples(job, accumulators)
        operands, cotangents = in_float64(job)
        return expect_operator(
            job.operator, job.attributes, operands, cotangents, job.format, accumulators, exact=exact
        )
    except InvalidShape as error:
        return MustRefuse(why=str(error))


def values(job: Job) -> Expectations | MustRefuse:
    """The reference's values alone, without bounds (all are zero): less than half the work of `expect`."""
    if OPERATORS[job.operator].random:
        return expect(job, Accumulators())
    operands, cotangents = in_float64(job)
    given = {**operands, **attribute_values(job.attributes)}
    try:
        outputs = forward(job.operator, job.format, given)
        gradients = REFERENCE[job.operator].vjp(cotangents, **given) if cotangents else {}
    except InvalidShape as error:
        return MustRefuse(why=str(error))

    wanted = differentiable(job.operator)
    return Expectations(
        outputs={
            name: replace(exactly(value), format=_places(job.operator, name)) for name, value in outputs.items()
        },
        gradients={name: exactly(value) for name, value in gradients.items() if name in wanted},
    )


def expect_operator(
    operator: str,
    attributes: Any,
    operands: Mapping[str, Any],
    cotangents: Mapping[str, Float64],
    format_name: str,
    accumulators: Accumulators,
    *,
    exact: bool = True,
) -> Expectations:
    """The expectations of one operator on given numbers; with `exact`, short sums of integers have no bound.

    Raises:
        InvalidShape: if the reference refuses.
    """
    reference = REFERENCE[operator]
    given = {**operands, **attribute_values(attributes)}
    values = forward(operator, format_name, given)
    gradients = reference.vjp(cotangents, **given) if cotangents else {}
    magnitudes = reference.magnitude(cotangents or None, **given)
    if format_name in INTEGERS:
        _require_room(operator, attributes, format_name, magnitudes)
        return Expectations(outputs={name: exactly(value) for name, value in values.items()}, gradients={})
    linear = OPERATORS[operator].linear
    integral = exact and linear and all(map(are_integers, sorted(operands.values(), key=np.size)))
    exact_integers = {"outputs": integral, "gradients": integral and all(map(are_integers, cotangents.values()))}

    bias = operands.get("b") if accumulators.stores_sum(operator, format_name) else None

    def expectation(value: Float64, magnitude: Magnitude, check: str, name: str) -> Expectation:
        accumulator = accumulators.of(operator, format_name, check, name)
        value = np.asarray(value, np.float64)
        untouched = not magnitude.terms.ndim and not magnitude.terms and not magnitude.underflow.any()
        if untouched:
            # A derivative of 0 times a negative cotangent is -0 where it is multiplied, +0 where it is selected; and
            # -0 may pass a kink or not.
            signed = linear or (check == "outputs" and not any(map(_has_negative_zero, operands.values())))
            return replace(exactly(value), signed=np.broadcast_to(signed, value.shape))
        found = bounded(value, magnitude, accumulator)
        signed_zeros = None
        if exact_integers[check] and float(np.max(magnitude.absolute, initial=0.0)) <= 2.0**accumulator.precision:
            found = found.within(ZERO)
            # What cancels is +0 in any order; a sum of zeros alone has the sign that its order gives it.
            signed_zeros = np.broadcast_to(magnitude.absolute > BELOW_INTEGERS, value.shape)
        if check == "outputs" and OPERATORS[operator].zero:
            signed_zeros = _kept_zeros(OPERATORS[operator].zero, operands["x"])
        if bias is not None and check == "outputs":
            found = found.within(_stored_before(bias, value, found.bound, FORMATS[format_name], accumulator))
        return found if signed_zeros is None else replace(found, signed=signed_zeros)

    wanted = differentiable(operator)
    return Expectations(
        outputs={
            name: replace(
                expectation(value, magnitudes.outputs[name], "outputs", name), format=_places(operator, name)
            )
            for name, value in values.items()
        },
        gradients={
            name: expectation(value, magnitudes.gradients[name], "gradients", name)
            for name, value in gradients.items()
            if name in wanted
        },
    )


def bounded(value: Float64, magnitude: Magnitude, accumulator: Format) -> Expectation:
    """A value with the bound of an honest computation in the accumulator's format."""
    terms, underflow = once(magnitude.terms), once(magnitude.underflow)
    absolute = magnitude.absolute
    root = np.sqrt(terms)
    floor = underflow * (accumulator.eta / accumulator.unit)
    unit = accumulator.unit + REFERENCE_UNIT
    growth = gamma(terms, unit)
    if not np.isfinite(growth).all():
        radius = magnitude.radius(unit_roundoff=unit, smallest_normal=accumulator.eta)
        return Expectation(value=value, size=radius, scale=absolute, root=root, floor=floor)
    flushed = underflow * accumulator.eta
    return Expectation(
        value=value, size=absolute, growth=growth, flushed=flushed, scale=absolute, root=root, floor=floor
    )


def forward(operator: str, format_name: str, given: Mapping[str, Any]) -> dict[str, Float64]:
    """An operator's outputs; on integers those that it has there, with one zero.

    A quotient of an integer below 2^53 loses its fraction rightly: its rounding in float64 is less than its distance
    from the next integer, which is at least the reciprocal of the divisor.
    """
    outputs: dict[str, Float64] = REFERENCE[operator].forward(**given)
    if format_name not in INTEGERS:
        return outputs
    truncated = OPERATORS[operator].on_integers == "truncated"
    return {name: (np.trunc(value) if truncated else value) + 0.0 for name, value in outputs.items()}


def _require_room(operator: str, attributes: Any, format_name: str, magnitudes: Magnitudes) -> None:
    """Refuses integers whose sums may not fit, in some order: there honest backends wrap, saturate or widen.

    Raises:
        InvalidData: if so.
    """
    # A quotient's magnitude is that of its sum, divided by the size of the window at most.
    divisor = math.prod(attributes.window) if OPERATORS[operator].on_integers == "truncated" else 1
    most = largest_integer(format_name)
    for magnitude in magnitudes.outputs.values():
        if np.rint(float(np.max(magnitude.absolute, initial=0.0)) * divisor) > most:
            raise InvalidData(f"{operator}: sums may exceed {most} in {format_name}; give it smaller numbers")


def _places(operator: str, name: str) -> str:
    """The format of an output that counts places; empty for one that is stored as the question is."""
    return output_format(operator, None, name, "")


def _stored_before(bias: Float64, value: Float64, error: Float64, storage: Format, accumulator: Format) -> Float64:
    """The error of a sum that is stored before the bias is added; see the module for the derivation."""
    with np.errstate(invalid="ignore", over="ignore"):
        mid = value - bias
        missed = [np.abs(round_to(mid + side * error, storage) + bias - value) for side in (-1, 1)]
        twice = np.maximum(*missed)
        twice = np.where(twice > 0, twice + accumulator.unit * (np.abs(value) + twice), 0.0)
    # Infinities and NaN are compared as such; the end nearer to the value may be the value itself.
    return np.where(np.isfinite(value), np.maximum(twice, error), error)


def expect_norm_wise(job: Job, accumulators: Accumulators) -> Expectations | MustRefuse | None:
    """What a transform algorithm may give for a float32 convolution; None for anything else.

    256 u L joins the bound by element, L as in `reference.transforms`: over 299 configurations of NNPACK's Winograd
    and FFT kernels, 184 of which left the bound by element, none left this one.
    """
    if job.format != "float32" or not isinstance(job.attributes, (Convolution, TransposedConvolution)):
        return None
    found = expect(job, accumulators, exact=False)
    if not isinstance(found, Expectations):
        return found
    cotangent = job.cotangents.get("output")
    output, gradients = convolution_norms(
        x=to_float64(job.operands["x"]),
        w=to_float64(job.operands["w"]),
        groups=job.attributes.groups,
        cotangent=to_float64(cotangent) if cotangent is not None else None,
        transposed=isinstance(job.attributes, TransposedConvolution),
    )

    def widened(expectation: Expectation, norm: Float64) -> Expectation:
        return expectation.within(expectation.bound + TRANSFORM_GROWTH * FORMATS["float32"].unit * norm)

    return Expectations(
        outputs={name: widened(e, output) for name, e in found.outputs.items()},
        gradients={
            name: widened(e, gradients[name]) if name in gradients else e for name, e in found.gradients.items()
        },
    )


def _expect_samples(job: Job, accumulators: Accumulators) -> Expectations:
    """What the outputs of an operator that draws its own numbers are samples of."""
    operands, _ = in_float64(job)
    law = LAWS[job.operator](**operands, **attribute_values(job.attributes))
    if isinstance(law, Law):
        shape = next(iter(operands.values())).shape
        fans = f", from fans {law.fans[0]} and {law.fans[1]}" if law.fans else ""
        sample: Sample = Drawn(
            shape=shape,
            end=law.end,
            square=law.variance,
            fourth=law.fourth,
            normal=law.distribution == "normal",
            below=law.below,
            draw=partial(law.draw, shape=shape),
            about=f"{law.distribution.replace('_', ' ')} of scale {law.scale:.6g}{fans}",
        )
    else:
        accumulator = accumulators.of(job.operator, job.format, "outputs", "output")
        radius = law.magnitude.radius(
            unit_roundoff=accumulator.unit + REFERENCE_UNIT, smallest_normal=accumulator.eta
        )
        kept = Expectation(value=law.kept, size=radius, scale=np.abs(law.kept))
        sample = Thinned(kept=kept, keep=law.keep, draw=law.draw)
    return Expectations(outputs={}, gradients={}, samples=dict.fromkeys(OPERATORS[job.operator].outputs, sample))


def drawn(job: Job, samples: Mapping[str, Sample]) -> dict[str, Float64]:
    """Samples of what outputs are drawn from, the same for the same case; each output has its own."""
    generator = np.random.Generator(np.random.Philox(zlib.crc32(job.case_id.encode())))
    return {name: sample.draw(generator) for name, sample in samples.items()}


def _kept_zeros(zero: str, x: Float64) -> Any:
    """Where an element-wise function of 0 is a zero whose sign every form of it agrees on."""
    return (x == 0) if zero == "sign" else (x == 0) & ~np.signbit(x)


def _has_negative_zero(array: Any) -> bool:
    return bool(np.signbit(array[array == 0]).any()) if array.dtype.kind == "f" else False


def answer(job: Job) -> Answer:
    """The reference's own answer, as a backend's would be: rounded to the job's format."""
    operands, cotangents = in_float64(job)
    try:
        if job.operator == "chain":
            outputs, gradients = _answer_chain(job, operands, cotangents)
        elif OPERATORS[job.operator].random:
            outputs, gradients = drawn(job, _expect_samples(job, Accumulators()).samples), {}
        else:
            given = {**operands, **attribute_values(job.attributes)}
            outputs = forward(job.operator, job.format, given)
            gradients = REFERENCE[job.operator].vjp(cotangents, **given) if cotangents else {}
    except InvalidShape as error:
        return Refused(error="InvalidShape", message=str(error))

    def stored(array: Float64, format_name: str) -> Tensor:
        return Tensor(format_name, to_storage(array, STORED[format_name]))

    return Outputs(
        outputs={
            name: stored(array, output_format(job.operator, job.attributes, name, job.format))
            for name, array in outputs.items()
        },
        gradients={name: stored(array, job.format) for name, array in gradients.items()},
        calls=("the NumPy reference, in float64",),
    )


def _answer_chain(
    job: Job, operands: Mapping[str, Any], cotangents: Mapping[str, Float64]
) -> tuple[dict[str, Float64], dict[str, Float64]]:
    """A chain as a backend computes it: what passes from layer to layer is stored in the job's format."""

    def stored(array: Float64) -> Float64:
        return round_to(np.asarray(array, np.float64), FORMATS[job.format])

    chain: Chain = job.attributes
    outputs: dict[str, Float64] = {}
    asked: list[tuple[Layer, Mapping[str, str], dict[str, Any]]] = []
    for layer, takes in chain.wired():
        given = {name: operands[INPUT] if source == INPUT else outputs[source] for name, source in takes.items()}
        given |= {**own_of(layer, operands), **attribute_values(layer.attributes)}
        asked.append((layer, takes, given))
        made = named_outputs(layer, REFERENCE[layer.operator].forward(**given))
        outputs |= {name: stored(array) for name, array in made.items()}
    gradients: dict[str, Float64] = {}
    if not cotangents:
        return outputs, gradients
    for layer, takes, given in reversed(asked):
        cotangent = cotangents[layer.name] if layer.name in cotangents else gradients[layer.name]
        wanted = differentiable(layer.operator)
        for name, gradient in REFERENCE[layer.operator].vjp({"output": cotangent}, **given).items():
            if name in takes and name in wanted:
                # What several layers take gets a gradient from each of them.
                source = takes[name]
                gradients[source] = (
                    stored(gradients[source] + stored(gradient)) if source in gradients else stored(gradient)
                )
            elif name in wanted:
                gradients[f"{layer.name}/{name}"] = stored(gradient)
    return outputs, gradients


def expect_chain(job: Job, answer: Outputs, accumulators: Accumulators) -> Expectations | MustRefuse:
    """What every layer of a chain must give on what it was really given in this very answer.

    A running bound from end to end would be valid and useless; so each layer is judged on its captured inputs, and
    its gradients on the captured cotangent of its output. What several layers take gets the sum of their gradients.

    *Mixed precision.* A layer that computes in C sees what it is given rounded to C: parameters that are kept in
    float32, as well as what a layer that gives another format left. Rounding is what a cast does, and exact where the
    format is C already, so the layer is judged on the rounded numbers by the rule of C, its accumulators those of C.
    What it gives, and the gradients that it pulls back, are cast to the format D of whoever has them: the one
    declared for its output, that of the parameter, that of the output of the layer before. `cast` has their bound.
    """
    chain: Chain = job.attributes
    operands, _ = in_float64(job)
    kept: dict[str, str] = {INPUT: job.format}
    outputs: dict[str, Expectation] = {}
    gradients: dict[str, Expectation] = {}
    # What every layer was given; what came in another shape is missing, as what follows is another question.
    seen: dict[str, Any] = {INPUT: operands[INPUT]}
    shares: dict[str, list[Expectation]] = {}
    takers: Counter[str] = Counter()
    formats = accumulators.of_layers(chain, job.format)
    for layer, takes in chain.wired():
        takers.update(source for name, source in takes.items() if name in differentiable(layer.operator))
        if any(source not in seen for source in takes.values()):
            continue
        given = {name: seen[source] for name, source in takes.items()} | own_of(layer, operands)
        cotangent = job.cotangents.get(layer.name, answer.gradients.get(layer.name))
        pulled = {"output": to_float64(cotangent)} if isinstance(cotangent, Tensor) else {}
        computed, kept[layer.name] = formats[layer.name]
        if accumulators.layer_formats:
            given, pulled = rounded(given, computed), rounded(pulled, computed)
        try:
            found = expect_operator(layer.operator, layer.attributes, given, pulled, computed, accumulators)
        except InvalidShape as error:
            return MustRefuse(why=f"layer {layer.name}: {error}")
        made = {
            name: cast(expectation, computed, kept[layer.name] if name == "output" else job.format)
            for name, expectation in found.outputs.items()
        }
        outputs |= named_outputs(layer, made)
        for name, expectation in found.gradients.items():
            if name in takes:
                shares.setdefault(takes[name], []).append(cast(expectation, computed, kept[takes[name]]))
            else:
                gradients[f"{layer.name}/{name}"] = cast(expectation, computed, job.format)
        captured = answer.outputs.get(layer.name)
        value = found.outputs["output"].value
        if captured is None or captured.shape == value.shape:
            # Without an answer there is nothing to judge, but a layer further on may have to refuse.
            seen[layer.name] = value if captured is None else to_float64(captured)
    whole = {name: parts for name, parts in shares.items() if len(parts) == takers[name]}
    return Expectations(
        outputs=outputs,
        gradients={**{name: summed(parts, FORMATS[kept[name]]) for name, parts in whole.items()}, **gradients},
    )


def rounded(arrays: Mapping[str, Any], format_name: str) -> dict[str, Any]:
    """Arrays as a cast to a format leaves them; integers and masks stay."""
    format_ = FORMATS[format_name]
    return {name: round_to(array, format_) if array.dtype.kind == "f" else array for name, array in arrays.items()}


def cast(expectation: Expectation, computed: str, given: str) -> Expectation:
    """What is computed in one format and handed on in another.

    It is stored first, between round(v - e) and round(v + e) of the one, and then rounded to the other; that rounding
    is monotone, and the comparison has it for the ends. So e grows to the farther of the stored ends. Whoever casts
    what was never stored gives what is nearer: e stays, where storing would shrink it.
    """
    if expectation.format:  # it counts places
        return expectation
    if computed == given:
        return replace(expectation, format=given)
    value, e = expectation.value, expectation.bound
    with np.errstate(invalid="ignore", over="ignore"):
        ends = [np.abs(round_to(value + side * e, FORMATS[computed]) - value) for side in (-1, 1)]
    # Infinities and NaN are compared as such.
    bound = np.where(np.isfinite(value), np.maximum(e, np.maximum(*ends)), e)
    return replace(expectation.within(bound), format=given)


def summed(parts: Sequence[Expectation], storage: Format) -> Expectation:
    """The sum of arrays of which each was computed and stored before: gradients of what several layers take.

    Part i reaches the sum within e_i, its own bound. Of k parts, each is stored, and the sum grows in k - 1 steps,
    the last of which is the rounding that every array has: k - 1 roundings of |v_i| + e_i at most, and k numbers may
    have been flushed. One part is itself.
    """
    if len(parts) == 1:
        return parts[0]
    count = len(parts)
    with np.errstate(invalid="ignore", over="ignore"):
        errors = sum((part.bound for part in parts), np.zeros(()))
        sizes = sum((np.abs(part.value) + part.bound for part in parts), np.zeros(()))
        unit = storage.unit + REFERENCE_UNIT
        rounded = (count - 1) * unit / (1 - (count - 1) * unit)
        return Expectation(
            value=sum((part.value for part in parts), np.zeros(())),
            size=errors + rounded * sizes + count * storage.eta,
            scale=sum((np.maximum(part.scale, np.abs(part.value)) for part in parts), np.zeros(())),
            format=parts[0].format,
        )


def differentiable(operator: str) -> frozenset[str]:
    """The operands of an operator that have a gradient."""
    return frozenset(operand.name for operand in OPERATORS[operator].operands if operand.differentiable)
