"""Forward mode: of which operators the product of the Jacobian with tangents is asked, and in which cases.

What a contract calls `forward_mode` says how the product follows from the operator itself, so that its bound is
proved. Left out are operators whose Jacobian mixes elements in another way: maxima of windows, normalisations,
softmax, losses.
"""

from typing import Final

from conformance.case.model import Case, DataSet, Fill, FormatName, Layout, Tier
from conformance.case.operators import OPERATORS
from conformance.case.turns import in_turn

# Sums of products that are formed apart are rounded to the storage format between: only formats that accumulate in
# kind everywhere have one bound for every order of it.
FORMATS_ASKED: Final[tuple[FormatName, ...]] = ("float64", "float32")


def has_tangents(case: Case, data: DataSet) -> bool:
    """Whether a data set is asked for tangents: numbers as they come, without those chosen for kinks and tails."""
    if data == "given":
        sources = [spec.source for spec in case.inputs.values()]
        return all(source is None or (isinstance(source, Fill) and source.kind != "special") for source in sources)
    return data in ("wide", "normal")


def asks_tangents(case: Case, format_name: FormatName, layout: Layout, tier: Tier) -> bool:
    """Whether a case is asked for its outputs' tangents in a format and a layout.

    Cases that name their checks are asked when `jvp` is one of them; of the others those that have both outputs and
    gradients, one of four below the tier `full`, in their first format.
    """
    if OPERATORS[case.operator].forward_mode is None or format_name not in FORMATS_ASKED or layout != "native":
        return False
    if case.readings or case.expect.error != "no" or not any(has_tangents(case, data) for data in case.data):
        return False
    if "jvp" in case.checks:
        return True
    if case.checks != ("outputs", "gradients"):
        return False
    return tier == "full" or (format_name == case.formats[0] and in_turn(case, "jvp"))
