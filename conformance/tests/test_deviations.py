"""Differences on file: what they cover, what they state, and when they expire."""

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance.case.job import Description, Target
from conformance.errors import InvalidCases
from conformance.verdict.deviations import Assessment, Deviation, assess, load_deviations, shipped_deviations
from conformance.verdict.model import Outcome, Reason, Verdict

DESCRIPTION = Description(
    backend="tf",
    versions={"tensorflow": "2.21.0+cpu", "numpy": "2.1"},
    device="cpu (x86_64)",
    cpu_features=("avx2", "avx512f"),
    switches={},
    accumulators=(),
    absent=("glorot_uniform", "conv3d*", "dropout:gradients"),
    operators=(),
)
ON_FILE = Deviation(
    id="nan",
    cases=("max_pool*/nan-*", "seeds/one"),
    backend="tf",
    outcome=Outcome.DIFFERS,
    reason="nan",
    about="NaN is swallowed.",
)
NAN = Verdict(outcome=Outcome.DIFFERS, reason=Reason.NAN)
AGREES = Verdict(outcome=Outcome.AGREES, reason=Reason.EXACT)


def assessed(
    deviation: Deviation = ON_FILE,
    verdict: Verdict = NAN,
    *,
    case: str = "max_pool2d/nan-first",
    target: str = "tf",
    format_: str = "float32",
    check: Any = "outputs",
    description: Description = DESCRIPTION,
) -> Assessment:
    return assess(case, ("max_pool2d",), Target.parse(target), format_, check, verdict, description, (deviation,))


def test_what_is_on_file_is_expected() -> None:
    assert assessed() == Assessment(standing="expected", deviation="nan")
    assert assessed(case="seeds/one") == Assessment(standing="expected", deviation="nan")


def test_what_agrees_although_it_is_on_file_is_stale() -> None:
    assert assessed(verdict=AGREES) == Assessment(standing="stale", deviation="nan")


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict(outcome=Outcome.DIFFERS, reason=Reason.VALUE),
        Verdict(outcome=Outcome.CRASHED, reason=Reason.DEATH),
        Verdict(outcome=Outcome.REFUSED, reason=Reason.ERROR),
        Verdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.VACUOUS),
    ],
    ids=lambda verdict: verdict.outcome,
)
def test_anything_else_than_what_is_on_file_stays_unexpected(verdict: Verdict) -> None:
    assert assessed(verdict=verdict) == Assessment(standing="unexpected", deviation="nan")


@pytest.mark.parametrize(("backend", "covered"), [(("keras-tf", "tf"), True), (("keras-tf",), False), ("t", False)])
def test_one_may_be_that_of_several_backends(backend: str | tuple[str, ...], covered: bool) -> None:
    assert (assessed(replace(ON_FILE, backend=backend)).standing == "expected") is covered


@pytest.mark.parametrize(
    ("outcome", "standing"),
    [
        (Outcome.UNSTABLE, "expected"),
        (Outcome.DIFFERS, "expected"),
        (Outcome.AGREES, "expected"),
        (Outcome.CRASHED, "unexpected"),
        (Outcome.REFUSED, "unexpected"),
    ],
)
def test_one_cause_may_show_in_several_ways_that_are_named(outcome: Outcome, standing: str) -> None:
    changing = replace(ON_FILE, outcome=Outcome.UNSTABLE, reason="", also=(Outcome.DIFFERS, Outcome.AGREES))
    verdict = Verdict(outcome=outcome, reason=Reason.VALUE)
    assert assessed(changing, verdict) == Assessment(standing=standing, deviation="nan")


def test_what_it_shows_as_elsewhere_frees_its_outcome_from_no_reason() -> None:
    verdict = Verdict(outcome=Outcome.DIFFERS, reason=Reason.SHAPE)
    assert assessed(replace(ON_FILE, also=(Outcome.REFUSED,)), verdict).standing == "unexpected"


def test_without_a_reason_any_is_covered() -> None:
    anyhow = replace(ON_FILE, reason="")
    assert assessed(anyhow, Verdict(outcome=Outcome.DIFFERS, reason=Reason.VALUE)).standing == "expected"
    assert assessed(anyhow, Verdict(outcome=Outcome.CRASHED, reason=Reason.DEATH)).standing == "unexpected"


NOT_COVERED = Assessment(standing="unexpected")


@pytest.mark.parametrize(
    "other",
    [
        {"case": "max_pool2d/nan"},
        {"case": "seeds/one-more"},
        {"target": "torch"},
        {"check": "gradients"},
    ],
    ids=str,
)
def test_what_is_not_covered_is_unexpected(other: dict[str, Any]) -> None:
    assert assessed(**other) == NOT_COVERED
    assert assessed(verdict=AGREES, **other) == Assessment(standing="expected")


@pytest.mark.parametrize(
    ("narrowed", "covered", "elsewhere"),
    [
        ({"device": "cuda"}, {"target": "tf:cuda"}, {"target": "tf"}),
        ({"mode": "eager"}, {"target": "tf+fast+eager"}, {"target": "tf+fast"}),
        ({"formats": ("bfloat16",)}, {"format_": "bfloat16"}, {"format_": "float32"}),
        ({"checks": ("outputs", "gradients")}, {"check": "gradients"}, {"target": "torch"}),
        ({"cpu_features": ("avx512f",)}, {}, {"description": replace(DESCRIPTION, cpu_features=("avx2",))}),
        (
            {"except_cpu_features": ("amx_bf16",)},
            {},
            {"description": replace(DESCRIPTION, cpu_features=("amx_bf16",))},
        ),
        ({"machine": platform.machine()}, {}, {"target": "jax"}),
    ],
    ids=str,
)
def test_each_condition_narrows(narrowed: dict[str, Any], covered: dict[str, Any], elsewhere: dict[str, Any]) -> None:
    deviation = replace(ON_FILE, **narrowed)
    assert assessed(deviation, **covered).standing == "expected"
    assert assessed(deviation, **elsewhere) == NOT_COVERED


def test_another_machine_is_not_covered() -> None:
    assert assessed(replace(ON_FILE, machine="abacus")) == NOT_COVERED


@pytest.mark.parametrize(
    ("versions", "covered"),
    [
        ("tensorflow>=2.19,<2.22", True),
        ("tensorflow<2.21", False),
        ("tensorflow==2.21.0", True),
        ("tensorflow>=2.22.0.dev0", False),
        ("torch>=1", False),
    ],
)
def test_versions_are_those_that_the_backend_tells(versions: str, covered: bool) -> None:
    assert (assessed(replace(ON_FILE, versions=versions)).standing == "expected") == covered


def test_a_version_before_its_release_counts_as_newer() -> None:
    nightly = replace(DESCRIPTION, versions={"tensorflow": "2.22.0.dev20260101"})
    assert assessed(replace(ON_FILE, versions="tensorflow>=2.21"), description=nightly).standing == "expected"


def test_the_first_that_covers_counts() -> None:
    crash = replace(ON_FILE, id="crash", outcome=Outcome.CRASHED, reason="")
    on_file = (crash, ON_FILE)
    both = assess("seeds/one", ("relu",), Target.parse("tf"), "float32", "outputs", NAN, DESCRIPTION, on_file)
    assert both == Assessment(standing="unexpected", deviation="crash")


LACKING = Verdict(outcome=Outcome.UNSUPPORTED, reason=Reason.NO_COUNTERPART)


@pytest.mark.parametrize(
    ("operator", "check", "standing"),
    [
        ("glorot_uniform", "outputs", "expected"),
        ("conv3d_transpose", "gradients", "expected"),
        ("dropout", "gradients", "expected"),
        ("dropout", "outputs", "unexpected"),
        ("conv2d", "outputs", "unexpected"),
    ],
)
def test_what_a_backend_is_known_to_lack_is_expected(operator: str, check: Any, standing: str) -> None:
    target = Target.parse("tf")
    assert assess("c/d", (operator,), target, "float32", check, LACKING, DESCRIPTION, ()).standing == standing
    in_a_chain = ("chain", "relu", operator)
    assert assess("c/d", in_a_chain, target, "float32", check, LACKING, DESCRIPTION, ()).standing == standing
    crashed = Verdict(outcome=Outcome.CRASHED, reason=Reason.DEATH)
    assert assess("c/d", (operator,), target, "float32", check, crashed, DESCRIPTION, ()).standing == "unexpected"


def test_an_invalid_question_that_cannot_be_put_was_not_accepted() -> None:
    def standing(verdict: Verdict) -> str:
        return assess(
            "c/d", ("conv2d",), Target.parse("tf"), "float32", "outputs", verdict, DESCRIPTION, (), may_lack=True
        ).standing

    assert standing(LACKING) == "expected"
    assert standing(Verdict(outcome=Outcome.ACCEPTED_INVALID, reason=Reason.ERROR)) == "unexpected"


# Files -------------------------------------------------------------------------------------------------------------

GOOD = """deviations:
  - id: nan
    cases: [max_pool2d/*]
    backend: tf
    versions: tensorflow>=2.19,<2.22
    outcome: DIFFERS
    reason: nan
    about: NaN is swallowed.
    link: https://example.org/1
"""


def written(tmp_path: Path, text: str, name: str = "a.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_file_becomes_deviations(tmp_path: Path) -> None:
    (deviation,) = load_deviations([written(tmp_path, GOOD)])
    assert (deviation.id, deviation.cases, deviation.outcome) == ("nan", ("max_pool2d/*",), Outcome.DIFFERS)
    assert (deviation.checks, deviation.formats, deviation.link) == (("outputs",), (), "https://example.org/1")
    assert load_deviations([]) == ()


@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        ("outcome: DIFFERS", "outcome: DIFERS", "6:14", "outcome"),
        ("backend: tf", "bakend: tf", "", "backend"),
        ("cases: [max_pool2d/*]", "cases: max_pool2d/*", "3:12", "cases"),
        ("    about: NaN is swallowed.\n", "", "2:5", "about"),
        ("versions: tensorflow>=2.19,<2.22", "versions: tensorflow => 2", "5:15", "versions"),
        ("reason: nan", "formats: [float31]", "7:", "float31"),
        ("deviations:", "deviation:", "1:1", "deviations"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, old: str, new: str, place: str, told: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InvalidCases) as caught:
        load_deviations([path])
    assert caught.value.problems[0].where.startswith(f"{path}:{place}")
    assert told in str(caught.value)


def test_every_problem_of_every_file_is_told(tmp_path: Path) -> None:
    one = written(tmp_path, GOOD.replace("DIFFERS", "X"))
    two = written(tmp_path, GOOD.replace("DIFFERS", "Y"), "b.yaml")
    with pytest.raises(InvalidCases) as caught:
        load_deviations([one, two])
    assert len(caught.value.problems) == 2


def test_two_of_one_name_are_told(tmp_path: Path) -> None:
    paths = [written(tmp_path, GOOD), written(tmp_path, GOOD, "b.yaml")]
    with pytest.raises(InvalidCases, match="two deviations are called 'nan'"):
        load_deviations(paths)


def test_a_file_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidCases):
        load_deviations([written(tmp_path, "deviations: [")])
    with pytest.raises(InvalidCases):
        load_deviations([tmp_path / "none.yaml"])


def test_what_ships_can_be_read() -> None:
    shipped = shipped_deviations()
    assert len({deviation.id for deviation in shipped}) == len(shipped)
    assert all(deviation.about for deviation in shipped)
