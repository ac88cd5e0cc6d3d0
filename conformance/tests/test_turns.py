"""Turns: a quarter of the cases is asked for more, which kind of question a case is asked is its own affair."""

from collections import Counter
from dataclasses import replace

from conformance.case.job import Target
from conformance.case.model import Case
from conformance.case.turns import ROTATION, further_format, further_layout, in_turn
from conformance.run.plan import plan
from conformance.tests.questions import CONV

MANY = 4000
# Six standard deviations of a count of so many draws with the chance that is meant.
ROOM = 6 * (MANY / ROTATION * (1 - 1 / ROTATION)) ** 0.5
CASES = tuple(replace(CONV, id=f"conv2d/number-{n}", formats=("float32", "float64")) for n in range(MANY))


def formats(case: Case, **options: object) -> list[str]:
    return [item.format for item in plan([case], [Target(backend="torch")], **options)]  # type: ignore[arg-type]


def test_a_quarter_takes_every_turn() -> None:
    for turns in (
        [in_turn(case, "jvp") for case in CASES],
        [further_format(case) == "float64" for case in CASES],
        [further_layout(case, ("strided",)) == "strided" for case in CASES],
    ):
        assert abs(sum(turns) - MANY / ROTATION) < ROOM


def test_turns_of_different_kinds_do_not_follow_one_another() -> None:
    both = sum(further_format(case) is not None and in_turn(case, "jvp") for case in CASES)
    assert abs(both - MANY / ROTATION**2) < ROOM


def test_a_case_that_names_its_formats_is_always_asked_in_one_further() -> None:
    named = [replace(case, formats=("float32", "float64", "bfloat16", "float16")) for case in CASES]
    counts = Counter(further_format(case) for case in named)
    assert counts.keys() == {"float64", "bfloat16", "float16"}
    assert all(abs(count - MANY / 3) < 6 * (MANY * 2 / 9) ** 0.5 for count in counts.values())
    assert further_format(replace(CONV, formats=("bfloat16", "float16"))) == "float16"


def test_a_case_of_one_format_has_no_other() -> None:
    assert {further_format(replace(case, formats=("float64",))) for case in CASES[:40]} == {None}


def test_the_plan_asks_the_first_format_and_the_further_one_and_full_asks_all() -> None:
    turn = next(case for case in CASES if further_format(case))
    other = next(case for case in CASES if not further_format(case))
    assert formats(turn) == ["float32", "float64"]
    assert formats(other) == ["float32"]
    assert formats(other, tier="full") == ["float32", "float64"]
    assert formats(other, formats=("float64",)) == ["float64"]
    named = replace(turn, formats=("float32", "float64", "bfloat16", "float16"))
    assert formats(named) == ["float32", further_format(named)]
    assert formats(named, tier="full") == list(named.formats)


def test_a_case_stays_with_its_turns_whatever_else_changes() -> None:
    again = [replace(case, about="said otherwise", tier="smoke") for case in CASES[:40]]
    assert [further_format(case) for case in again] == [further_format(case) for case in CASES[:40]]
