"""Asks one case of one framework anew and writes the script of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conformance.case.job import Target
from conformance.case.model import Case, Layout
from conformance.case.operators import operators_of
from conformance.run.engine import Session
from conformance.run.plan import Item
from conformance.run.script import CannotReproduce, Reproduction, script_of, scripting
from conformance.verdict.judge import judge
from conformance.worker.gateway import require_known


def reproduce(
    case: Case,
    target: Target,
    format_name: str = "",
    data: str = "",
    layout: Layout = "native",
    *,
    inside: bool = False,
    path: str = "",
) -> Reproduction:
    """Asks a target one data set of a case and writes the script of it.

    Args:
        case: what is asked.
        target: of whom.
        format_name: float32 if empty, or the first that the case has.
        data: normal if empty, or the first that the case has.
        layout: how the framework is given the arrays.
        inside: all numbers stand in the script, however many.
        path: the adapter as `module:Class`, looked up among the entry points if empty.

    Raises:
        CannotReproduce: if the case has no such format or data, or the target no such layout or no script.
        TargetError: if the target cannot be used.
    """
    format_ = _chosen("format", format_name, case.formats, "float32")
    chosen = _chosen("data", data, case.data, "normal")
    require_known(target)
    adapter = scripting(case, target)
    known = adapter.layout_of(layout, operators_of(case.operator, case.attributes))
    if known is None:
        raise CannotReproduce(f"{target.name} gives {case.operator} no data in the layout {layout}")
    item = Item(case=case, target=target, format=format_, layout=known)
    session = Session(target, path=path)
    try:
        asked = session.ask(item, chosen)
    finally:
        session.close()
    judgement = judge(case, asked.job, asked.answer, asked.expected, exact=asked.exact)
    return script_of(item, adapter, asked, judgement, session.description, inside=inside)


def write(made: Reproduction, path: Path) -> tuple[Path, ...]:
    """Writes a script, and its numbers beside it where they do not stand inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made.text, encoding="utf-8", newline="\n")
    if not made.arrays:
        return (path,)
    np.savez_compressed(path.with_suffix(".npz"), allow_pickle=False, **dict(made.arrays))
    return path, path.with_suffix(".npz")


def _chosen(what: str, given: str, allowed: Sequence[Any], usual: str) -> Any:
    if given and given not in allowed:
        raise CannotReproduce(f"the case has no {what} {given!r}; it has {', '.join(allowed)}")
    return given or (usual if usual in allowed else allowed[0])
