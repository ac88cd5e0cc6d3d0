"""Samples: honest ones of many seeds are never objected to, each wrong one always is, and in the right words."""

from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.job import Tensor
from conformance.case.model import Case
from conformance.case.operators import OPERATORS
from conformance.reference.operators import LAWS
from conformance.run import engine
from conformance.run.plan import question_of
from conformance.tests import drawing
from conformance.tests.conftest import Ask
from conformance.tests.questions import case, item
from conformance.verdict import oracle
from conformance.verdict.diagnosis import diagnose
from conformance.verdict.model import Comparison, Outcome, Reason
from conformance.verdict.oracle import Accumulators, Expectations
from conformance.verdict.sampling import FALSE_ALARM, compare_samples
from conformance.verdict.variants import evaluate, variants_of

SHAPE = (3, 3, 32, 96)  # fans of 288 and 864
KERNEL = case("initialize", Initialize(), "kernel", inputs={"w": SHAPE})
NORMAL = case("initialize", Initialize(scheme="he", distribution="normal"), "normal", inputs={"w": SHAPE})
CUT = case("initialize", Initialize(distribution="truncated_normal"), "cut", inputs={"w": SHAPE})
DROPOUT = case("random_dropout", RandomDropout(rate=0.3), "dropout", inputs={"x": (8, 10, 12, 16)})

Draw = Callable[[np.random.Generator], np.ndarray]
END = np.sqrt(6 / (288 + 864))


def judged(question: Case, draw: Draw, seed: int, *, anew: bool = False) -> list[Comparison]:
    """Two samples in float32, from one generator or each from its own of the same seed."""
    job = question_of(item(question), "normal").job
    expected = oracle.expect(job, Accumulators())
    assert isinstance(expected, Expectations)
    generator = np.random.default_rng(seed)
    got = {}
    for name in ("output", "again"):
        generator = np.random.default_rng(seed) if anew else generator
        got[name] = Tensor("float32", np.asarray(draw(generator), np.float32))
    return compare_samples("outputs", "normal", got, expected.samples, "float32")


def x_of(question: Case) -> np.ndarray:
    return np.asarray(oracle.to_float64(question_of(item(question), "normal").job.operands["x"]))


def uniform(end: float) -> Draw:
    return lambda generator: generator.uniform(-end, end, size=SHAPE)


def normal(deviation: float) -> Draw:
    return lambda generator: deviation * generator.standard_normal(SHAPE)


def cut(deviation: float) -> Draw:
    """A normal sample without what lies beyond two deviations."""

    def draw(generator: np.random.Generator) -> np.ndarray:
        z = generator.standard_normal(2 * int(np.prod(SHAPE)))
        return deviation * z[np.abs(z) <= 2][: int(np.prod(SHAPE))].reshape(SHAPE)

    return draw


def dropped(keep: float, scale: float | None = None, shared: tuple[int, ...] = ()) -> Draw:
    x = x_of(DROPOUT)

    def draw(generator: np.random.Generator) -> np.ndarray:
        shape = tuple(1 if axis in shared else size for axis, size in enumerate(x.shape))
        return np.where(generator.uniform(size=shape) < keep, x * (1 / keep if scale is None else scale), 0.0)

    return draw


S = np.sqrt(2 / (288 + 864)) / 0.87962566103423978
HONEST = [(KERNEL, uniform(END)), (NORMAL, normal(np.sqrt(2 / 288))), (CUT, cut(S)), (DROPOUT, dropped(0.7))]


def test_the_rate_of_false_alarms_is_stated() -> None:
    assert FALSE_ALARM == 1e-9


@pytest.mark.parametrize(("question", "draw"), HONEST, ids=["uniform", "normal", "cut", "dropout"])
def test_honest_samples_of_many_seeds_are_never_objected_to(question: Case, draw: Draw) -> None:
    for seed in range(100):
        found = judged(question, draw, seed)
        assert [c.reason for c in found] == [Reason.WITHIN_BOUND] * 2, [c.detail for c in found]
        assert all(c.ratio <= 1 and c.within for c in found)


WRONG: list[tuple[str, Case, Draw, str]] = [
    ("twice the variance", KERNEL, uniform(END * np.sqrt(2)), "lies beyond the end"),
    ("half the variance", KERNEL, uniform(END / np.sqrt(2)), "standard deviation"),
    ("three quarters of the variance", NORMAL, normal(np.sqrt(1.5 / 288)), "standard deviation"),
    ("the fan out", NORMAL, normal(np.sqrt(2 / 864)), "standard deviation"),
    ("not widened", CUT, cut(S * 0.87962566103423978), "standard deviation"),
    ("not cut off", CUT, normal(np.sqrt(2 / (288 + 864))), "lies beyond the end"),
    ("moved by a tenth", NORMAL, lambda g: normal(np.sqrt(2 / 288))(g) + 0.1 * np.sqrt(2 / 288), "mean"),
    ("another law of the same moments", NORMAL, uniform(np.sqrt(6 / 288)), "distribution function"),
    ("one draw a tap", KERNEL, lambda g: np.broadcast_to(uniform(END)(g)[:1], SHAPE), "signs of neighbours along"),
    (
        "neighbours alike",
        KERNEL,
        lambda g: np.repeat(uniform(END)(g)[..., ::2], 2, axis=-1),
        "signs of neighbours along axis 3 agree",
    ),
    ("NaN", KERNEL, lambda g: np.where(uniform(END)(g) > 0, np.nan, 0.0), "not finite"),
    ("rate for keep", DROPOUT, dropped(0.3), "kept elements are not x / 0.7"),
    ("rate for keep, scaled right", DROPOUT, dropped(0.3, 1 / 0.7), "elements are kept, expected about"),
    ("not scaled", DROPOUT, dropped(0.7, 1.0), "kept elements are not x / 0.7"),
    ("nothing dropped", DROPOUT, dropped(1.0, 1 / 0.7), "elements are kept, expected about"),
    ("rows shared", DROPOUT, dropped(0.7, shared=(1,)), "masks of neighbours along axis 1 agree"),
]


@pytest.mark.parametrize(("name", "question", "draw", "words"), WRONG, ids=[name for name, *_ in WRONG])
def test_wrong_samples_are_always_noticed(name: str, question: Case, draw: Draw, words: str) -> None:
    """Where a fault is so far away that chance hides it less often than it raises a false alarm."""
    for seed in range(20):
        first, _ = judged(question, draw, seed)
        assert not first.within
        assert first.ratio > 1
        assert words in first.detail
        assert first.reason in (Reason.DISTRIBUTION, Reason.NAN)


@pytest.mark.parametrize(
    ("question", "draw"),
    [
        (KERNEL, uniform(END * np.sqrt(0.92))),
        (NORMAL, normal(np.sqrt(1.11 * 2 / 288))),
        (NORMAL, normal(np.sqrt(0.89 * 2 / 288))),
        (CUT, cut(S * np.sqrt(0.90))),
        (DROPOUT, dropped(0.75, 1 / 0.7)),
        (DROPOUT, dropped(0.65, 1 / 0.7)),
    ],
    ids=["uniform", "normal-wide", "normal-narrow", "cut", "kept-more", "kept-less"],
)
def test_what_is_said_to_be_seen_for_certain_is(question: Case, draw: Draw) -> None:
    assert all(not c.within for seed in range(50) for c in judged(question, draw, seed))


@pytest.mark.parametrize("question", [KERNEL, NORMAL, CUT, DROPOUT], ids=lambda question: question.id)
def test_the_law_of_two_readings_is_that_of_its_own_draws(question: Case) -> None:
    """Diagnosis composes readings; one that changes a law without all of its moments would accuse its own samples."""
    job = question_of(item(question), "normal").job
    for pair in permutations(variants_of(question.operator), 2):
        found = evaluate(pair, job, lambda asked, exact: oracle.expect(asked, Accumulators(), exact=exact))
        if not isinstance(found, Expectations):
            continue
        generator = np.random.default_rng(7)
        law = found.samples["output"]
        draws = [law.draw(generator), law.draw(generator)]
        got = {
            name: Tensor("float32", np.asarray(draws[0 if law.repeated else place], np.float32))
            for place, name in enumerate(("output", "again"))
        }
        objections = [c for c in compare_samples("outputs", "normal", got, found.samples, "float32") if not c.within]
        assert not objections, (" then ".join(variant.name for variant in pair), objections)


def test_neighbours_that_agree_more_often_are_seen() -> None:
    """A tenth of all pairs along the last axis is made alike, which adds 0.04 of all pairs; two thirds add 0.28."""

    def draw(generator: np.random.Generator) -> np.ndarray:
        made, x = dropped(0.7)(generator), x_of(DROPOUT)
        again = np.where(np.roll(made, 1, axis=-1) != 0, x / 0.7, 0.0)
        odd = np.arange(x.shape[-1]) % 2 == 1
        return np.where(odd & (generator.uniform(size=x.shape) < 2 / 3), again, made)

    for seed in range(20):
        first, _ = judged(DROPOUT, draw, seed)
        assert "masks of neighbours along axis 3 agree" in first.detail


@pytest.mark.parametrize(("question", "draw"), HONEST, ids=["uniform", "normal", "cut", "dropout"])
def test_two_samples_must_differ(question: Case, draw: Draw) -> None:
    for seed in range(5):
        first, second = judged(question, draw, seed, anew=True)
        assert first.within
        assert not second.within
        assert "agree with those of output" in second.detail


def test_shapes_and_formats_come_first() -> None:
    assert judged(KERNEL, lambda g: g.uniform(size=(2, 2)), 0)[0].reason is Reason.SHAPE


# Through a backend --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fake", "question", "name"),
    [
        (drawing.FansSwapped, NORMAL, "fan out for fan in"),
        (drawing.SpatialDropout, DROPOUT, "one draw along axis 1"),
        (drawing.DropoutUnscaled, DROPOUT, "kept elements not scaled"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fake_that_draws_otherwise_is_told(
    ask: Ask, fake: Any, question: Case, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine takes its time; what is told does not depend on it.
    monkeypatch.setattr(engine, "diagnose", partial(diagnose, seconds=60))
    result = ask(fake, question)
    verdict = result.verdicts["outputs"]
    assert (verdict.outcome, verdict.reason) == (Outcome.DIFFERS, Reason.DISTRIBUTION)
    assert verdict.detail
    assert result.location
    assert name in result.agrees_with


@pytest.mark.parametrize("question", [KERNEL, NORMAL, DROPOUT], ids=lambda question: question.id)
def test_an_honest_fake_agrees(ask: Ask, question: Case) -> None:
    result = ask(drawing.DrawsHonestly, question)
    assert result.verdicts["outputs"].outcome is Outcome.AGREES
    assert not result.diagnosis


def test_both_tables_name_what_draws_its_own_numbers() -> None:
    assert {name for name, operator in OPERATORS.items() if operator.random} == LAWS.keys()
