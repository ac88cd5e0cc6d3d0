"""What is unexpected in runs, accepted: deviations for a file of one's own.

They say exactly what was seen, of exactly these cases, formats and versions: anything graver stays unexpected, and
another version is judged afresh.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from conformance.case.layouts import marked
from conformance.case.model import Check, Layout
from conformance.run.comparison import Measured
from conformance.verdict.deviations import Deviation
from conformance.verdict.model import Outcome, Reason


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Seen:
    """What came of one check of a case in a layout."""

    layout: Layout
    check: Check
    outcome: Outcome
    reason: Reason


def accepted(runs: Sequence[Measured], about: str) -> tuple[Deviation, ...]:
    """The deviations that make the unexpected results of runs expected, alike ones together.

    Args:
        runs: one for each target.
        about: why they are accepted.

    Raises:
        ValueError: if no reason is given, or two runs are of the same target and version.
    """
    if not about.strip():
        raise ValueError("--reason must say why, in a sentence of fact")
    found = tuple(deviation for run in runs for deviation in _of_run(run, about.strip()))
    if len({deviation.id for deviation in found}) < len(found):
        raise ValueError("two of the runs are of the same target and version; name one of them")
    return found


def _of_run(run: Measured, about: str) -> list[Deviation]:
    formats: dict[tuple[str, _Seen], set[str]] = {}
    for result in run.results.values():
        for check, assessment in result.assessments.items():
            if assessment.standing == "unexpected":
                verdict = result.verdicts[check]
                layout = cast(Layout, result.layout)
                seen = _Seen(layout=layout, check=check, outcome=verdict.outcome, reason=verdict.reason)
                formats.setdefault((result.case, seen), set()).add(result.format)
    cases: dict[tuple[_Seen, tuple[str, ...]], list[str]] = {}
    for (case, seen), names in sorted(formats.items()):
        cases.setdefault((seen, tuple(sorted(names, reverse=True))), []).append(case)
    backend, device, versions = _who(run)
    modes = run.header.description.modes
    pinned = versions.replace("==", "-")
    return [
        Deviation(
            id=_slug(
                "accepted",
                backend,
                device,
                *modes,
                pinned,
                seen.check,
                seen.outcome,
                seen.reason,
                *names,
                *marked(seen.layout),
            ),
            cases=tuple(map(_exactly, ids)),
            backend=(backend,),
            device=device,
            outcome=seen.outcome,
            reason=seen.reason.value,
            about=about,
            checks=(seen.check,),
            formats=cast(Any, names),
            layouts=(seen.layout,),
            modes=modes,
            versions=versions,
        )
        for (seen, names), ids in sorted(cases.items())
    ]


def _who(run: Measured) -> tuple[str, str, str]:
    """The backend's and the device's name, and the framework pinned to its version."""
    description = run.header.description
    device = description.device.partition(" ")[0]
    backend = run.header.backend
    if not backend:  # runs of earlier versions do not tell it; none of their targets had a name of its own
        backend = re.split(r"[@+]", run.header.target)[0]
        if device != "cpu":  # the folder's name of `torch:cuda` is `torch-cuda`
            backend = backend.removesuffix(f"-{device}")
    # A backend names its framework before what that stands on.
    name, version = next(iter(description.versions.items()))
    return backend, device, f"{name}=={version.partition('+')[0]}"


def _exactly(case_id: str) -> str:
    """A glob that matches one id."""
    return re.sub(r"([*?\[])", r"[\1]", case_id)


def _slug(*parts: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower())
