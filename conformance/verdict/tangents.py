"""What the outputs' tangents must be: the Jacobian times a tangent of every differentiable operand.

A product's, x w + b, is the sum of x' w, x w' and b': two results of the operator itself and an array, with at most
two more roundings for the additions. What is linear in all operands together is the operator itself, of the tangents.
An element-wise operator's Jacobian is diagonal, so that pulling a tangent back is pushing it forward.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from conformance.case.job import Job, Tensor
from conformance.case.model import Check
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, Float64, Format, to_storage
from conformance.reference.magnitude import Magnitude, once
from conformance.verdict.model import ZERO, Expectation
from conformance.verdict.oracle import Accumulators, attribute_values, bounded, in_float64, to_float64
from conformance.verdict.references import REFERENCE

# Of x' w, x w' and b'.
_ADDITIONS: Final = 2

Term = tuple[Float64, Magnitude]


def expect_tangents(job: Job, accumulators: Accumulators) -> dict[str, Expectation]:
    """The tangents of a job's outputs, with the bound of an honest computation; none where it has no tangents.

    Raises:
        InvalidShape: if the reference refuses.
    """
    if not job.tangents:
        return {}
    return {OPERATORS[job.operator].outputs[0]: along(job, job.tangents, accumulators, "jvp")}


def along(job: Job, given: Mapping[str, Tensor], accumulators: Accumulators, check: Check) -> Expectation:
    """The tangent of a job's output along given tangents of its operands, for whichever check asks for it.

    Raises:
        InvalidShape: if the reference refuses.
    """
    operands, _ = in_float64(job)
    tangents = {name: to_float64(tensor) for name, tensor in given.items()}
    attributes = attribute_values(job.attributes)
    name = OPERATORS[job.operator].outputs[0]
    terms = _terms(job.operator, attributes, operands, tangents, name)
    value = np.sum([term for term, _ in terms], axis=0)
    more = _ADDITIONS if len(terms) > 1 else 0
    absolute = np.asarray(sum(np.where(m.terms > 0, m.absolute, np.abs(v)) for v, m in terms), np.float64)
    magnitude = Magnitude(
        terms=np.asarray(np.max([np.max(once(m.terms), initial=0) for _, m in terms]) + more),
        absolute=absolute,
        underflow=np.asarray(sum(np.max(once(m.underflow), initial=0) for _, m in terms) + more),
    )
    numbers = (*operands.values(), *tangents.values())
    return expected_of(job, value, magnitude, numbers, accumulators.of(job.operator, job.format, check, name))


def expected_of(
    job: Job, value: Float64, magnitude: Magnitude, numbers: Sequence[Float64], accumulator: Format
) -> Expectation:
    """A derivative with its bound, which is 0 where an operator of products sums few enough integers.

    Args:
        job: what was asked.
        value: the derivative.
        magnitude: what its bound needs.
        numbers: all that it is made of.
        accumulator: the format in which it is summed.
    """
    found = bounded(value, magnitude, accumulator)
    integral = all(np.array_equal(array, np.rint(array)) for array in numbers)
    largest = np.max(magnitude.absolute, initial=0.0)
    if OPERATORS[job.operator].linear and integral and largest <= 2.0**accumulator.precision:
        return found.within(ZERO)
    return found


def pushed(job: Job) -> dict[str, Tensor]:
    """The reference's own answer to a job's tangents, as a backend's would be: rounded to the job's format."""
    format_ = FORMATS[job.format]
    expected = expect_tangents(job, Accumulators())
    return {name: Tensor(job.format, to_storage(found.value, format_)) for name, found in expected.items()}


def _terms(
    operator: str,
    attributes: Mapping[str, Any],
    operands: Mapping[str, Any],
    tangents: Mapping[str, Float64],
    output: str,
) -> list[Term]:
    """The arrays that add up to the tangent, each with the magnitude of its own computation."""
    reference = REFERENCE[operator]

    def computed(**given: Any) -> Term:
        value = np.asarray(reference.forward(**given, **attributes)[output], np.float64)
        return value, reference.magnitude(None, **given, **attributes).outputs[output]

    match OPERATORS[operator].forward_mode:
        case "sum":
            return [computed(**{**operands, **tangents})]
        case "elementwise":
            given = {**operands, **attributes}
            ((name, tangent),) = tangents.items()
            pulled = reference.vjp({output: tangent}, **given)[name]
            magnitude = reference.magnitude({output: tangent}, **given).gradients[name]
            return [(np.asarray(pulled, np.float64), magnitude)]
        case _:
            first, second = [operand.name for operand in OPERATORS[operator].operands[:2]]
            factors = {first: operands[first], second: operands[second]}
            terms = [computed(**{**factors, name: tangents[name]}) for name in (first, second)]
            if "b" in tangents:
                bias = np.broadcast_to(tangents["b"], terms[0][0].shape)
                nothing = np.zeros(())
                terms.append((bias, Magnitude(terms=nothing, absolute=np.abs(bias), underflow=nothing)))
            return terms
