"""Second derivatives: of which operators they are asked, and in which cases.

What is asked is the gradient of `<J^T u, v>`: the operator's own gradients along random directions v, differentiated
once more in reverse, by the operands that they depend on and by the cotangent u. It follows from the operator itself,
so that its bound is proved: a product's gradients are products, whose derivatives are the gradients at v in the
operands' place, and the derivative by u is the tangent along v. Element-wise functions are asked where the reference
knows their curvature.
"""

from typing import Final

from conformance.case.model import Case, FormatName, Layout, Tier
from conformance.case.operators import OPERATORS
from conformance.case.tangents import FORMATS_ASKED, has_tangents
from conformance.case.turns import in_turn

# Of the element-wise functions those whose second derivative has a proved bound: `reference.curvature` tells why the
# others are left out.
CURVED: Final = (
    *("relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_tanh", "hard_swish"),
    *("sigmoid", "tanh", "softplus", "log_sigmoid", "elu", "selu", "silu"),
)
# One case in so many of the operators that slide a window: they are a thousand, and JAX compiles every one apart.
ROTATION: Final = 16
ROTATION_IN_FULL: Final = 4


def second_names(operator: str) -> tuple[str, ...]:
    """What an operator's gradients are differentiated by: operands, and the output whose cotangent they depend on.

    Empty where second derivatives are not asked. A bias, and what an operator is linear in together with all others,
    is none: the gradients do not depend on it.
    """
    contract = OPERATORS[operator]
    match contract.forward_mode:
        case "product":
            return (*(operand.name for operand in contract.operands[:2]), *contract.outputs)
        case "sum":
            return contract.outputs
        case "elementwise" if operator in CURVED:
            return (contract.operands[0].name, *contract.outputs)
    return ()


def asks_second(case: Case, format_name: FormatName, layout: Layout, tier: Tier) -> bool:
    """Whether a case is asked for second derivatives in a format and a layout.

    Cases that name their checks are asked when `second` is one of them; of the others those that have both outputs
    and gradients, below the tier `full` in their first format: all of an operator that slides no window, else some in
    turn.
    """
    if not second_names(case.operator) or format_name not in FORMATS_ASKED or layout != "native":
        return False
    if case.readings or case.expect.error != "no" or not any(has_tangents(case, data) for data in case.data):
        return False
    if "second" in case.checks:
        return True
    if case.checks != ("outputs", "gradients") or (format_name != case.formats[0] and tier != "full"):
        return False
    one_in = ROTATION_IN_FULL if tier == "full" else ROTATION
    return in_turn(case, "second", one_in) or not OPERATORS[case.operator].rank
