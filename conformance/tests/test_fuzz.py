"""Random questions: the same for the same seed, honest ones never alarmed about, lost bits always."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conformance.case.geometry import nearest_places
from conformance.case.loading import load
from conformance.case.operators import OPERATORS
from conformance.report.selfcheck import fuzz_text
from conformance.run import sampling
from conformance.run.engine import Session
from conformance.run.fuzz import Fuzzed, fuzz
from conformance.run.plan import REFERENCE, question_of
from conformance.run.sampling import ORDINARY, SAMPLERS, SMALL, Dice, Drawn, draw, drawn, undrawn
from conformance.tests import fakes
from conformance.tests.questions import item
from conformance.verdict import oracle
from conformance.verdict.deviations import Deviation
from conformance.verdict.model import Outcome

Sessions = Callable[..., Session]


def test_every_operator_is_drawn() -> None:
    assert not undrawn(), f"no SAMPLERS in conformance/run/sampling/ has an entry for {', '.join(undrawn())}"
    assert set(SAMPLERS) < set(OPERATORS)


@pytest.mark.parametrize("operator", SAMPLERS)
def test_what_is_drawn_is_a_question_and_stays_one_on_paper(operator: str, tmp_path: Path) -> None:
    from conformance.case.writing import as_yaml

    for number in range(6):
        case = draw(operator, number, extent=SMALL)
        assert case == draw(operator, number, extent=SMALL)
        path = tmp_path / "pasted.yaml"
        path.write_text(as_yaml(case))
        (pasted,) = load([path])
        assert (pasted.attributes, pasted.inputs, pasted.data) == (case.attributes, case.inputs, case.data)
        # The numbers are seeded by the question, so that a pasted case asks the very same ones.
        for data in case.data:
            ours, theirs = (question_of(item(each), data).job for each in (case, pasted))
            for name, tensor in ours.operands.items():
                assert np.array_equal(tensor.data, theirs.operands[name].data)


def test_seeds_numbers_and_sizes_draw_different_questions() -> None:
    shapes = {
        str(draw("conv2d", number, seed=seed, extent=extent).inputs)
        for number in (0, 1)
        for seed in (0, 1)
        for extent in (SMALL, ORDINARY)
    }
    assert len(shapes) == 8


def test_a_convolution_shows_every_feature_in_its_id() -> None:
    ids = " ".join(draw("conv2d", number).id for number in range(60))
    for feature in ("-same", "-same-lower", "-valid", "-pads", "-stride", "-dilation", "-groups"):
        assert feature in ids
    attributes = [draw("conv2d", number).attributes for number in range(60)]
    assert {a.groups for a in attributes} == {1, 2, 3}
    assert any(a.stride[0] != a.stride[1] for a in attributes)


def test_nearest_neighbours_are_asked_where_no_rounding_of_a_ratio_decides() -> None:
    asked = [case for number in range(150) if (case := draw("resize2d", number)).attributes.method == "nearest"]
    pairs = {(case.attributes.coordinates, case.attributes.rounding) for case in asked}
    # The last aligned coordinate is an integer, which a rounded ratio may miss: floor and ceil of those are rare.
    assert len(pairs | {("align_corners", "floor"), ("align_corners", "ceil")}) == 12
    for case in asked:
        a = case.attributes
        for n, m in zip(case.inputs["x"].shape[1:-1], a.size, strict=True):
            exactly = nearest_places(n, m, a.coordinates, a.rounding)
            single = np.float32(n - 1) / np.float32(max(m - 1, 1)) if a.coordinates == "align_corners" else None
            ratio = np.float32(n) / np.float32(m) if single is None else single
            shift = np.float32(0.5 if a.coordinates == "half_pixel" else 0)
            place = (np.arange(m, dtype=np.float32) + shift) * ratio - shift
            jump = np.float32({"half_up": 0.5, "half_down": -0.5}.get(a.rounding, 0))
            found = (np.floor if a.rounding in ("floor", "half_up") else np.ceil)(place + jump)
            assert np.clip(found, 0, n - 1).astype(int).tolist() == list(exactly)


def test_numbers_are_put_back_into_places_of_their_own() -> None:
    for number in range(30):
        case = draw("max_unpool2d", number)
        oracle.answer(question_of(item(case), "normal").job)  # raises if an index lies outside or occurs twice


def test_dice_draw_without_putting_back() -> None:
    dice = Dice(0, "distinct")
    drawn_ = [dice.distinct(3, 5) for _ in range(1000)]
    assert all(len(set(numbers)) == 3 and 0 <= min(numbers) <= max(numbers) < 5 for numbers in drawn_)
    assert len(set(drawn_)) == 5 * 4 * 3


def test_dice_are_fair_enough() -> None:
    dice = Dice(0, "fair")
    counts = np.bincount([dice.integer(1, 4) for _ in range(4000)], minlength=5)
    # Six standard deviations of a count of 1000 are 165.
    assert counts[0] == 0
    assert abs(counts[1:] - 1000).max() < 165


def test_operators_take_turns() -> None:
    source = drawn(("relu", "dense"), extent=SMALL)
    assert [next(source).operator for _ in range(4)] == ["relu", "dense", "relu", "dense"]


def test_a_sampler_that_draws_nothing_possible_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def impossible(dice: Dice, extent: sampling.Extent, rank: int) -> Drawn:
        return replace(SAMPLERS["dense"](dice, extent, rank), shapes={"x": (2, 3), "w": (4, 5)})

    monkeypatch.setattr(sampling, "SAMPLERS", {"dense": impossible})
    with pytest.raises(RuntimeError, match="dense draws nothing but impossible shapes"):
        draw("dense", 0)


def asked(session: Session, **how: object) -> Fuzzed:
    return fuzz(session, extent=SMALL, **{"elements": 1_000, **how})  # type: ignore[arg-type]


def test_an_honest_backend_gives_no_alarm(sessions: Sessions) -> None:
    found = asked(sessions(fakes.Honest), elements=20_000)
    assert found.alarms == ()
    assert found.elements >= 20_000
    assert set(found.operators) == set(fakes.Honest.operators()) - {"chain"}
    assert 20 < found.least["float32"] <= found.median["float32"]
    assert 49 < found.least["float64"] <= found.median["float64"]
    assert "0 alarms" in fuzz_text(found)


def test_five_lost_bits_are_an_alarm_with_its_case_to_paste(sessions: Sessions, tmp_path: Path) -> None:
    found = asked(sessions(fakes.TooFewBits), keyword="relu or dense")
    assert {alarm.result.operator for alarm in found.alarms} == {"relu", "dense"}
    # Some of it is what a known shorter arithmetic would give.
    assert {alarm.result.outcome for alarm in found.alarms} == {Outcome.DIFFERS, Outcome.LOW_PRECISION}
    alarm = found.alarms[0]
    assert alarm.yaml in fuzz_text(found)
    path = tmp_path / f"{alarm.result.operator}.yaml"
    path.write_text(alarm.yaml)
    (pasted,) = load([path])
    again = sessions(fakes.TooFewBits).run(item(pasted, alarm.result.format))  # type: ignore[arg-type]
    assert again.outcome is alarm.result.outcome
    assert again.digest == alarm.result.digest


def test_the_same_seed_gives_the_same_alarms(sessions: Sessions) -> None:
    first, second, other = (
        [alarm.result.name for alarm in asked(sessions(fakes.FlipsKernel), seed=seed).alarms] for seed in (5, 5, 6)
    )
    assert first == second
    assert first != other


def test_a_difference_on_file_is_counted_apart(sessions: Sessions) -> None:
    session = sessions(fakes.DropsBias)
    assert asked(session, keyword="dense").alarms
    known = Deviation(
        id="no-bias",
        cases=("dense/random-*",),
        backend="fake",
        outcome=Outcome.DIFFERS,
        about="The bias is dropped.",
    )
    told = Session(session.target, (known,), path=f"{fakes.__name__}:DropsBias")
    try:
        found = asked(told, keyword="dense")
    finally:
        told.close()
    assert found.alarms == ()
    assert found.known["no-bias"] > 0
    assert "on file: no-bias" in fuzz_text(found)


def test_who_refuses_everything_is_asked_no_end_of_questions(sessions: Sessions) -> None:
    found = asked(sessions(fakes.Raises), keyword="relu")
    assert found.alarms == ()
    assert found.elements == 0
    assert found.unanswered
    assert "no answer: relu/random-0" in fuzz_text(found)


def test_a_keyword_that_selects_nothing_asks_nothing() -> None:
    assert fuzz(Session(REFERENCE), keyword="nothing-of-that-name").questions == 0
