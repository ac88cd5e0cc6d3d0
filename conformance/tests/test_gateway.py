"""Workers: they start, die and start again; in this interpreter, or in one that has NumPy and nothing of ours."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Mean
from conformance.case.families.signals import Signal
from conformance.case.job import Crashed, Job, Outputs, Refused, Target, Tensor, TimedOut, Unsupported
from conformance.errors import BackendMissing, UnknownBackend, WorkerFailed
from conformance.tests import fakes
from conformance.tests.questions import CHAIN, CONV, case
from conformance.worker import gateway
from conformance.worker.gateway import Worker, covers, installed_backends, known_backends, shipped_sources

FAKE = Target(backend="fake")


def job(case_id: str = "relu/case", operator: str = "relu", **operands: list[float]) -> Job:
    operands = operands or {"x": [-1.0, 2.0]}
    return Job(
        case_id=case_id,
        operator=operator,
        attributes=Signal() if operator == "convolve" else NoAttributes(),
        format="float32",
        layout="native",
        data="given",
        operands={name: Tensor("float32", np.array(values, np.float32)) for name, values in operands.items()},
    )


def output(answer: object) -> list[float]:
    assert isinstance(answer, Outputs), answer
    return answer.outputs["output"].data.tolist()


def worker(fake: type[fakes.Honest], **target: str) -> Worker:
    return Worker(Target(backend="fake", **target), f"{fake.__module__}:{fake.__name__}")


# In this interpreter -----------------------------------------------------------------------------------------------


def test_a_worker_describes_itself_and_answers_in_turn() -> None:
    asked = worker(fakes.Honest)
    described = asked.start()
    assert described.backend == "Honest"
    assert described.versions["numpy"] == np.__version__
    assert described.accumulators == fakes.Honest.accumulators
    assert set(described.operators) >= {"conv2d", "relu", "chain"}
    for number in range(3):
        assert output(asked.ask(job(x=[float(number), -1.0]), 60)) == [number, 0]
    assert asked.starts == 1
    asked.close()


def test_the_first_question_starts_the_process() -> None:
    asked = worker(fakes.Honest)
    assert asked.starts == 0
    assert output(asked.ask(job(), 60)) == [0, 2]
    assert asked.starts == 1
    asked.close()


def test_after_a_death_and_after_a_silence_the_next_question_has_a_new_process() -> None:
    asked = worker(fakes.Killed)
    assert asked.ask(job("relu/trouble"), 60) == Crashed(cause="SIGKILL", last_words="")
    assert output(asked.ask(job(), 60)) == [0, 2]
    assert asked.starts == 2
    asked.close()
    asked = worker(fakes.Hangs)
    started = time.monotonic()
    assert asked.ask(job("relu/trouble"), 0.5) == TimedOut(seconds=0.5)
    assert time.monotonic() - started < 20
    assert output(asked.ask(job(), 60)) == [0, 2]
    assert asked.starts == 2
    asked.close()


def test_a_process_that_died_between_questions_is_told_as_a_crash() -> None:
    asked = worker(fakes.Honest)
    asked.start()
    asked._gateway._io.popen.kill()
    asked._gateway._io.popen.wait()
    assert asked.ask(job(), 60) == Crashed(cause="SIGKILL", last_words="")
    assert output(asked.ask(job(), 60)) == [0, 2]
    asked.close()


def test_last_words_are_the_end_of_what_the_process_wrote() -> None:
    asked = worker(fakes.Aborts)
    died = asked.ask(job("relu/trouble"), 60)
    assert isinstance(died, Crashed)
    assert died.last_words.startswith("native assertion failed: stride > 0\nFatal Python error: Aborted")
    # The next death does not repeat the words of the last.
    again = asked.ask(job("relu/trouble"), 60)
    assert again.last_words.count("native assertion failed") == 1
    asked.close()


def test_one_thread_a_worker() -> None:
    asked = worker(fakes.TellsItsEnvironment)
    assert asked.start().switches == {
        **dict.fromkeys(fakes.ENVIRONMENT, "1"),
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    }
    asked.close()


def test_what_was_written_for_a_worker_is_removed_with_it() -> None:
    asked = worker(fakes.PrintsToStdout)
    asked.ask(job(), 60)
    folder = asked._output.parent
    assert asked._output.read_text().count("past Python") == 4
    asked.close()
    assert not folder.exists()


def test_a_message_that_is_no_question_is_not_answered_as_one() -> None:
    asked = worker(fakes.Honest)
    asked.start()
    asked.send(Unsupported(reason="not a question"))
    assert asked.receive(60) == Unsupported(reason="this worker cannot answer a Unsupported")
    asked.close()


def test_a_backend_that_nobody_offers_is_not_started() -> None:
    for name, hint in (("scipi", "Did you mean 'scipy'?"), ("fortran", "")):
        asked = Worker(Target(backend=name))
        with pytest.raises(UnknownBackend) as caught:
            asked.start()
        assert str(caught.value).startswith(f"no backend is named {name!r}; installed are ")
        assert str(caught.value).endswith(hint)
        assert caught.value.known == tuple(sorted(known_backends()))
        assert asked.starts == 0
        asked.close()


def test_a_missing_framework_is_told_with_the_line_that_installs_it() -> None:
    asked = worker(fakes.LacksItsFramework)
    with pytest.raises(BackendMissing) as caught:
        asked.start()
    assert str(caught.value) == (
        f"fake: {sys.executable} cannot import 'no_such_framework'. Install it with: pip install no-such-framework"
    )
    assert (caught.value.module, caught.value.install) == ("no_such_framework", "pip install no-such-framework")
    asked.close()


def test_a_worker_that_dies_at_the_start_says_its_last_words() -> None:
    asked = worker(fakes.DiesAtTheStart)
    with pytest.raises(WorkerFailed) as caught:
        asked.start()
    assert caught.value.last_words.startswith("no such instruction: vfmadd")
    asked.close()


def test_a_silent_start_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "START_SECONDS", 0.01)
    asked = worker(fakes.Honest)
    with pytest.raises(WorkerFailed, match="silent for 0 s"):
        asked.start()
    asked.close()


# Who is there ------------------------------------------------------------------------------------------------------


def test_our_own_backends_use_the_door_that_is_open_to_others() -> None:
    assert set(known_backends()) >= {"torch", "tf", "jax", "scipy", "keras-tf", "keras-torch", "keras-jax"}
    assert "scipy" in installed_backends()
    assert set(installed_backends()) <= set(known_backends())


def test_a_partial_backend_is_asked_for_what_it_covers() -> None:
    scipy = Target(backend="scipy")
    convolve = case("convolve", Signal(), inputs={"x": (4,), "w": (2,)})
    assert covers(scipy, convolve)
    assert not covers(scipy, CONV)
    assert not covers(scipy, CHAIN)
    assert covers(Target(backend="torch"), CONV)
    assert covers(Target(backend="unheard-of"), CONV)


def test_a_partial_backend_is_not_asked_for_what_its_mode_lacks() -> None:
    mean = case("mean", Mean(axes=(0,)), inputs={"x": (4, 2)})
    assert covers(Target.parse("onnxruntime"), mean)
    assert not covers(Target.parse("onnxruntime+opset11"), mean)
    assert covers(Target.parse("onnxruntime+unoptimised"), mean)
    assert covers(Target.parse("onnxruntime+opset11"), CONV)


def test_what_a_mode_lacks_is_not_asked_of_a_whole_backend_either() -> None:
    prelu = case("prelu", NoAttributes(), inputs={"x": (4, 2), "a": (2,)})
    assert covers(Target.parse("keras-jax"), prelu)
    assert not covers(Target.parse("keras-jax+ops"), prelu)
    assert covers(Target.parse("keras-jax+ops"), CONV)


# In another interpreter --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment without any package."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True, capture_output=True)
    return folder / "env"


@pytest.fixture(scope="module")
def foreign(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An interpreter that has NumPy and a fake of its own, and where this package is not installed."""
    (site,) = (bare / "lib").glob("python*/site-packages")
    home = Path(np.__file__).parents[1]
    folder = tmp_path_factory.mktemp("site")
    for name in ("numpy", "numpy.libs"):
        if (home / name).exists():
            (folder / name).symlink_to(home / name)
    own = folder / "own_fake"
    own.mkdir()
    for source in Path(fakes.__file__).parent.glob("*.py"):
        (own / source.name).write_text(source.read_text().replace(fakes.__name__, own.name))
    path = site / "numpy.pth"
    path.write_text(f"{folder}\n")
    interpreter = str(bare / "bin" / "python")
    code = "import numpy, importlib.util; print(importlib.util.find_spec('conformance'))"
    told = subprocess.run([interpreter, "-E", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert told.stdout == "None\n"
    yield interpreter
    path.unlink()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the current folder nor PYTHONPATH leads to the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)


@pytest.mark.usefixtures("elsewhere")
def test_a_foreign_interpreter_is_sent_what_it_needs(foreign: str) -> None:
    asked = Worker(Target(backend="fake", interpreter=foreign), "own_fake:WhereAmI")
    described = asked.start()
    # The other interpreter, sources that are no files there, and nothing of the oracle.
    assert described.switches["executable"].startswith(str(Path(foreign).parents[1]))
    assert described.switches["file"] == "none"
    assert described.switches["modules"] == "backends, case, errors, models, worker"
    assert output(asked.ask(job(x=[-3.0, 3.0]), 60)) == [0, 3]
    impossible = asked.ask(job(operator="dense", x=[1.0, 2.0], w=[[1.0], [2.0], [3.0]]), 60)
    assert isinstance(impossible, Refused)
    asked.close()


@pytest.mark.usefixtures("elsewhere")
def test_a_death_in_a_foreign_interpreter_is_survived(foreign: str) -> None:
    asked = Worker(Target(backend="fake", interpreter=foreign), "own_fake:Aborts")
    died = asked.ask(job("relu/trouble"), 60)
    assert isinstance(died, Crashed)
    assert died.cause == "SIGABRT"
    assert output(asked.ask(job(), 60)) == [0, 2]
    asked.close()


@pytest.mark.usefixtures("elsewhere")
def test_a_framework_that_is_missing_there_is_told_with_its_interpreter(foreign: str) -> None:
    asked = Worker(Target(backend="scipy", interpreter=foreign))
    with pytest.raises(BackendMissing) as caught:
        asked.start()
    assert str(caught.value) == (
        f"scipy@{foreign}: {foreign} cannot import 'scipy'. Install it with: pip install \"scipy>=1.12\""
    )
    asked.close()


@pytest.mark.usefixtures("elsewhere")
def test_an_interpreter_without_numpy_says_what_to_install(bare: Path) -> None:
    interpreter = str(bare / "bin" / "python")
    for path in (bare / "lib").glob("python*/site-packages/numpy.pth"):
        path.rename(path.with_suffix(".off"))
    try:
        asked = Worker(Target(backend="scipy", interpreter=interpreter))
        with pytest.raises(BackendMissing) as caught:
            asked.start()
    finally:
        for path in (bare / "lib").glob("python*/site-packages/numpy.off"):
            path.rename(path.with_suffix(".pth"))
    assert caught.value.module == "numpy"
    assert caught.value.install == 'pip install "numpy>=1.26"'
    asked.close()


def test_an_interpreter_that_is_not_there_is_told() -> None:
    asked = Worker(Target(backend="scipy", interpreter="/no/such/python"))
    with pytest.raises(WorkerFailed, match="the worker did not start"):
        asked.start()
    asked.close()


def test_the_sources_that_are_sent_need_nothing_but_numpy_and_each_other() -> None:
    sources = shipped_sources()
    assert {name.split(".")[1] for name in sources if "." in name} == set(gateway.SHIPPED)
    for name in ("conformance", "conformance.case", "conformance.worker"):
        assert sources[name][0]
    assert not sources["conformance.worker.host"][0]
    assert not any("reference" in name or "tests" in name or "verdict" in name for name in sources)
