"""Reproduction scripts of real frameworks: each runs alone and says what the harness said.

Selected by framework (`pytest -m torch`) in the environment that has it; nothing here imports the tests' other parts,
so that an installed package is tested.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from conformance.case.job import Outputs, Refused, Target
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import Case
from conformance.run.engine import Session
from conformance.run.plan import Item
from conformance.run.script import script_of, scripting
from conformance.verdict.judge import judge
from conformance.verdict.model import Outcome

SECONDS: Final = 300
# Of one call on one operand; each further operand adds its numbers and a row for its gradient, each call a line.
MOST_LINES: Final = 30
# What scripts must be able to say: pads, crops, ties, a refusal, a function of one operand, many numbers.
CASES: Final = (
    "conv2d/few-terms-same",
    "conv2d_transpose/few-terms-pads",
    "global_max_pool2d/ties",
    "rejects/conv2d/mismatched-channels",
    "mish/image",
    "seeds/000-shapes/same-stride1",
    "conv2d/everything-asymmetric",
)
FRAMEWORKS: Final = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("torch", "tf", "jax")]


@pytest.fixture(scope="module")
def shipped() -> dict[str, Case]:
    return {case.id: case for case in load((default_root(),))}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    started = Session(Target(backend=request.param))
    yield started
    started.close()


@pytest.mark.parametrize("name", CASES)
def test_a_script_says_what_the_harness_said(
    session: Session, shipped: dict[str, Case], tmp_path: Path, name: str
) -> None:
    case = shipped[name]
    format_ = "float32" if "float32" in case.formats else case.formats[0]
    item = Item(case=case, target=session.target, format=format_, layout="native")
    asked = session.ask(item, case.data[-1])
    judgement = judge(case, asked.job, asked.answer, asked.expected, exact=asked.exact)
    made = script_of(item, scripting(case, session.target), asked, judgement, session.description, inside=True)
    assert not made.arrays
    further = max(0, len(asked.job.operands) - 1)
    calls = asked.answer.calls if isinstance(asked.answer, (Outputs, Refused)) else ()
    lines = sum(bool(line) for line in made.text.splitlines()) - 2 * further - len(calls[1:])
    assert lines <= MOST_LINES, made.text
    (tmp_path / "script.py").write_text(made.text, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-I", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    agrees = all(verdict.outcome is Outcome.AGREES for verdict in judgement.verdicts.values())
    assert ended.returncode == (0 if agrees else 1), ended.stdout + ended.stderr
    # What a framework refuses ends the script, on the other stream.
    last = [text.rstrip().rpartition("\n")[2] for text in (ended.stdout, ended.stderr)]
    assert ("agrees" if agrees else "differs") in last
