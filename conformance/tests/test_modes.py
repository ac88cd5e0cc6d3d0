"""How a target is driven: what is offered, refused, set in the worker's environment, and asked."""

from dataclasses import replace

import pytest

from conformance.backends.base import STOCK
from conformance.case.contract import NoAttributes
from conformance.case.job import Description, Target
from conformance.errors import InvalidTarget, WorkerFailed
from conformance.run import doctor
from conformance.run.plan import few, plan
from conformance.tests import fakes
from conformance.tests.questions import CHAIN, CONV, DENSE, MAX_POOL, SQUARE, case
from conformance.tests.shipped import core
from conformance.verdict.deviations import Deviation, assess
from conformance.verdict.model import Outcome, Reason, Verdict
from conformance.worker import gateway
from conformance.worker.gateway import ENVIRONMENT, Worker, costly, covers, environment_of, require_known, trains

TORCH = Target(backend="torch")
PATH = f"{fakes.__name__}:{fakes.Driven.__name__}"


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake as an installed backend."""
    monkeypatch.setattr(gateway, "known_backends", lambda: {"driven": PATH})
    gateway.find_adapter.cache_clear()
    yield
    gateway.find_adapter.cache_clear()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("torch+compil", "torch has no mode 'compil'; it has compile, mixed, stock, tf32. Did you mean 'compile'?"),
        ("tf+functions", "Did you mean 'function'?"),
        ("jax+jit", "jax has no mode 'jit'; it has eager, mixed, stock, tf32."),
        ("scipy+eager", "scipy has no mode 'eager'; it has none."),
        ("torch+tf32", "the mode 'tf32' is for cuda, got the device 'cpu'"),
        ("torch:cuda+stock+tf32", "the modes 'tf32' and 'stock' exclude each other: name one of them"),
        ("tf+function+xla", "the modes 'xla' and 'function' exclude each other: name one of them"),
    ],
)
def test_modes_that_a_backend_has_not_are_refused_before_anything_starts(text: str, why: str) -> None:
    with pytest.raises(InvalidTarget) as error:
        require_known(Target.parse(text))
    assert why in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "torch+compile",
        "torch+compile+stock",
        "torch:cuda:1+tf32",
        "tf+xla+noonednn",
        "tf+function+stock",
        "jax+eager",
    ],
)
def test_modes_go_together_where_they_make_sense(text: str) -> None:
    require_known(Target.parse(text))


def test_a_mode_named_twice_is_refused() -> None:
    with pytest.raises(InvalidTarget, match="a mode is named twice"):
        Target.parse("torch+stock+stock")


@pytest.mark.usefixtures("driven")
def test_a_mode_s_environment_is_there_before_the_framework_and_stock_sets_nothing() -> None:
    quick = Target(backend="driven", modes=("quick",), environment=(("MINE", "/a//b"),))
    assert environment_of(Target(backend="driven")) == ENVIRONMENT
    assert environment_of(quick) == {**ENVIRONMENT, "NPROC": "7", "MINE": "/a//b"}
    assert environment_of(Target(backend="driven", modes=(STOCK,))) == {}
    assert environment_of(Target(backend="driven", modes=(STOCK, "quick"))) == {"NPROC": "7"}


@pytest.mark.usefixtures("driven")
def test_the_worker_has_the_modes_and_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    for modes, expected in ((("quick",), ("7", "1")), ((STOCK, "quick"), ("7", "")), ((), ("1", "1"))):
        worker = Worker(Target(backend="driven", modes=modes))
        try:
            described = worker.start()
        finally:
            worker.close()
        assert described.modes == modes
        assert (described.switches["NPROC"], described.switches["MKL_NUM_THREADS"]) == expected


def test_a_worker_refuses_modes_too() -> None:
    worker = Worker(Target(backend="fake", modes=("quik",)), PATH)
    with pytest.raises(WorkerFailed, match="Did you mean 'quick'"):
        worker.start()
    worker.close()


@pytest.mark.usefixtures("driven")
def test_doctor_lists_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "known_backends", gateway.known_backends)
    lines = [line.text for line in doctor.examine()]
    assert lines[-4:] == [
        "    driven+quick: quicker",
        "    driven+slow: slower; asked little below --tier full",
        "    driven+far: on the abacus alone (abacus)",
        "    driven+stock: as it is",
    ]


# What is asked


@pytest.mark.parametrize("name", ["torch", "tf", "jax", "keras-tf", "keras-torch", "keras-jax"])
def test_in_mixed_precision_networks_are_trained_and_nothing_else_is_asked(name: str) -> None:
    mixed = Target(backend=name, modes=("mixed",))
    require_known(mixed)
    assert trains(mixed)
    assert covers(Target(backend=name), CONV)
    assert not any(covers(mixed, one) for one in (CONV, DENSE, CHAIN))
    assert environment_of(mixed)["XLA_FLAGS"] == "--xla_allow_excess_precision=false"


def test_what_trains_nothing_has_no_mixed_precision() -> None:
    with pytest.raises(InvalidTarget, match="flax has no mode 'mixed'"):
        require_known(Target(backend="flax", modes=("mixed",)))


@pytest.mark.usefixtures("driven")
def test_a_costly_mode_is_asked_the_first_of_every_sliding_operator() -> None:
    slow, quick = (Target(backend="driven", modes=(mode,)) for mode in ("slow", "quick"))
    assert (costly(slow), costly(quick), trains(slow), trains(quick)) == (True, False, False, True)
    flat = case("relu", NoAttributes(), inputs={"x": (3, 5)})
    cases = (DENSE, flat, CONV, SQUARE, MAX_POOL, CHAIN, replace(CHAIN, id="chain/second"))
    cases = tuple(replace(one, formats=("float32", "bfloat16")) for one in cases)
    asked = [f"{item.case.id} {item.format}" for item in plan(cases, (slow,), costly=costly)]
    assert asked == [f"{one.id} float32" for one in (CONV, MAX_POOL, CHAIN)]
    assert [item.case.id for item in plan(cases, (slow,), costly=costly, keyword="square")] == ["conv2d/square"]
    every = len(cases) * 2
    assert len(plan(cases, (slow,), costly=costly, tier="full")) == len(plan(cases, (quick,), costly=costly)) == every


def test_the_few_are_fixed_among_the_shipped_cases() -> None:
    items = plan(core(), (TORCH,))
    chosen = few(items)
    assert [item.case.operator for item in chosen] == list(dict.fromkeys(item.case.operator for item in chosen))
    operators = {item.case.operator for item in chosen}
    assert operators >= {
        *(f"{name}{rank}d" for name in ("conv", "max_pool", "average_pool") for rank in (1, 2, 3)),
        *(f"conv{rank}d_transpose" for rank in (1, 2, 3)),
        "chain",
    }
    assert not any(item.case.readings or item.case.expect.error != "no" for item in chosen)


# What is on file


LESS = Verdict(outcome=Outcome.LOW_PRECISION, reason=Reason.TF32_INPUTS)
DESCRIPTION = Description(
    backend="torch",
    versions={},
    device="cuda (fake)",
    cpu_features=(),
    switches={},
    accumulators=(),
    absent=(),
    operators=("conv2d",),
)


def standing(text: str, verdict: Verdict, *deviations: Deviation) -> str:
    target = Target.parse(text)
    return assess("conv2d/a", ("conv2d",), target, "float32", "outputs", verdict, DESCRIPTION, deviations).standing


def test_less_precision_is_a_note_where_the_mode_allows_it() -> None:
    assert standing("torch:cuda", LESS) == "unexpected"
    assert standing("torch:cuda+stock", LESS) == standing("torch:cuda+tf32", LESS) == "expected"
    assert standing("torch:cuda+compile", LESS) == "unexpected"
    differs = Verdict(outcome=Outcome.DIFFERS, reason=Reason.VALUE)
    assert standing("torch:cuda+stock", differs) == "unexpected"


def test_a_deviation_may_be_a_mode_s_or_all_others() -> None:
    dead = Verdict(outcome=Outcome.CRASHED, reason=Reason.DEATH)
    known = Deviation(id="a", cases=("*",), backend="tf", outcome=Outcome.CRASHED, about="It is so.")
    only = replace(known, modes=("noonednn",))
    but = replace(known, except_modes=("noonednn", "xla"))
    expected = {
        "tf": ("expected", "unexpected", "expected"),
        "tf+noonednn": ("expected", "expected", "unexpected"),
        "tf+function": ("expected", "unexpected", "expected"),
        "tf+noonednn+function": ("expected", "expected", "unexpected"),
        "tf+xla": ("expected", "unexpected", "unexpected"),
    }
    found = {text: tuple(standing(text, dead, one) for one in (known, only, but)) for text in expected}
    assert found == expected
