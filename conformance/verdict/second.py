"""What second derivatives must be: the gradient of `<J^T u, v>`, by operands and by the cotangent u.

For a product L(x, w) + b that is <u, L(v_x, w) + L(x, v_w) + v_b>. By x it is x's gradient with v_w for w, by w it is
w's with v_x for x: both are the gradients at the directions, sums of as many products as those have. By u it is the
tangent along v. What is linear in all operands has the latter alone; an element-wise function has u v f''(x).
"""

from typing import Final

from conformance.case.job import Job
from conformance.case.operators import OPERATORS
from conformance.formats import Float64
from conformance.reference.curvature import CURVATURES
from conformance.reference.magnitude import Magnitude
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Accumulators, attribute_values, in_float64, to_float64
from conformance.verdict.references import REFERENCE
from conformance.verdict.tangents import along, expected_of

CHECK: Final = "second"


def expect_second(job: Job, accumulators: Accumulators) -> dict[str, Expectation]:
    """A job's second derivatives, with the bound of an honest computation; none where it asks for none.

    Raises:
        InvalidShape: if the reference refuses.
    """
    if not job.directions:
        return {}
    output = OPERATORS[job.operator].outputs[0]
    given = (job.operands, job.cotangents, job.directions)
    numbers = [to_float64(tensor) for tensors in given for tensor in tensors.values()]
    found = {
        name: expected_of(job, value, magnitude, numbers, accumulators.of(job.operator, job.format, CHECK, name))
        for name, (value, magnitude) in _by_operands(job).items()
    }
    return {**found, output: along(job, job.directions, accumulators, CHECK)}


def _by_operands(job: Job) -> dict[str, tuple[Float64, Magnitude]]:
    operands, cotangents = in_float64(job)
    directions = {name: to_float64(tensor) for name, tensor in job.directions.items()}
    attributes = attribute_values(job.attributes)
    match OPERATORS[job.operator].forward_mode:
        case "product":
            names = [operand.name for operand in OPERATORS[job.operator].operands[:2]]
            given = {name: directions[name] for name in names}
            values = REFERENCE[job.operator].vjp(cotangents, **given, **attributes)
            magnitudes = REFERENCE[job.operator].magnitude(cotangents, **given, **attributes).gradients
            return {name: (values[name], magnitudes[name]) for name in names}
        case "elementwise":
            (name,) = directions
            (cotangent,) = cotangents.values()
            curve, x = CURVATURES[job.operator], operands[name]
            value = curve.pulled(cotangent, directions[name], x=x, **attributes)
            return {name: (value, curve.magnitude(cotangent, directions[name], x=x, **attributes))}
    return {}
