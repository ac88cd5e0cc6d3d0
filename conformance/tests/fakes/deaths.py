"""Deaths and silences, where the case's id ends with "trouble", in a backward pass, or before anything is asked."""

import ctypes
import os
import signal
import sys
import time
from typing import ClassVar

import numpy as np

from conformance.case.job import Job, Outputs
from conformance.errors import NotTranslatable
from conformance.tests.fakes.arithmetic import Array
from conformance.tests.fakes.honest import Honest, PullBack

TROUBLE = "trouble"


class Troubled(Honest):
    """What its heirs do in trouble."""

    def trouble(self) -> None:
        raise NotImplementedError

    def answer(self, job: Job) -> Outputs:
        if job.case_id.endswith(TROUBLE):
            self.trouble()
        return super().answer(job)


class Hangs(Troubled):
    """Never answers."""

    def trouble(self) -> None:
        time.sleep(3600)


class HangsAndTells(Hangs):
    """Leaves its process's number before it falls silent."""

    def trouble(self) -> None:
        with open(os.path.join(os.environ["FAKE_MARK"], str(os.getpid())), "w"):  # noqa: PTH118, PTH123
            super().trouble()


class WaitsForAnother(Troubled):
    """Answers only once another process has."""

    def trouble(self) -> None:
        while not os.path.exists(os.environ["FAKE_MARK"]):  # noqa: PTH110
            time.sleep(0.01)

    def answer(self, job: Job) -> Outputs:
        answer = super().answer(job)
        with open(os.environ["FAKE_MARK"], "w"):  # noqa: PTH123
            return answer


class HangsInGradient(Honest):
    """Never comes back from its backward pass."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        time.sleep(3600)
        raise AssertionError


class Aborts(Troubled):
    """Calls abort(), as a failed assertion of native code does."""

    def trouble(self) -> None:
        os.write(2, b"native assertion failed: stride > 0\n")
        os.abort()


class Segfaults(Troubled):
    """Reads from address 0."""

    def trouble(self) -> None:
        ctypes.string_at(0)


class Exits(Troubled):
    """Leaves the process without a word."""

    def trouble(self) -> None:
        os._exit(3)


class SystemExits(Troubled):
    """Leaves by sys.exit, which is no Exception."""

    def trouble(self) -> None:
        sys.exit(4)


class Interrupts(Troubled):
    """Raises what Ctrl-C raises."""

    def trouble(self) -> None:
        raise KeyboardInterrupt


class Killed(Troubled):
    """Is killed, as the system kills who takes too much memory."""

    def trouble(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class AbortsInGradient(Honest):
    """Its backward pass takes the process with it."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        os.abort()


# Broken before anything is asked ------------------------------------------------------------------------------------


class LacksItsFramework(Honest):
    """Wants a framework that is not there."""

    module: ClassVar[str] = "no_such_framework"
    install: ClassVar[str] = "pip install no-such-framework"

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        import no_such_framework  # noqa: F401


class BreaksAtTheStart(Honest):
    """Its constructor raises."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        raise RuntimeError("the driver is too old")


class DiesAtTheStart(Honest):
    """Its constructor takes the process with it."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        os.write(2, b"no such instruction: vfmadd\n")
        os.abort()


class DiesAtTheSecondStart(Honest):
    """Answers one process long: troubled, it dies, and cannot be started again."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self._mark = os.environ["FAKE_MARK"]
        if os.path.exists(self._mark):  # noqa: PTH110
            raise NotTranslatable("the device is gone")

    def answer(self, job: Job) -> Outputs:
        if job.case_id.endswith(TROUBLE):
            with open(self._mark, "w"):  # noqa: PTH123
                os.abort()
        return super().answer(job)
