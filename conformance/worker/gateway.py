"""The parent's side: starts workers, feeds them jobs, and survives whatever happens to them.

One worker is one process with one backend on one device. Its end shows as a closed channel (abort, segmentation
fault, kill) or as silence (hang); either way the question in flight gets an answer, and the next one a new process.
"""

import contextlib
import difflib
import importlib.util
import shlex
import signal
import sys
import tempfile
from fnmatch import fnmatchcase
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import execnet

from conformance.backends.base import STOCK, Backend, kind_of
from conformance.case.job import Answer, Crashed, Description, Job, Target, TimedOut, TrainingMessage
from conformance.case.model import Case, Layout
from conformance.case.operators import operators_of
from conformance.case.traces import ModelMessage
from conformance.errors import BackendMissing, InvalidTarget, NotTranslatable, UnknownBackend, WorkerFailed
from conformance.worker.wire import decode, encode

# One thread a worker: two cores in contention make timings collapse.
ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "NPROC": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
START_SECONDS: Final = 180.0
LAST_WORDS: Final = 4000

# What a foreign interpreter is sent; in_order: packages before their modules.
SHIPPED: Final = ("errors", "formats", "case", "backends", "models", "worker")

_BOOTSTRAP: Final = """
import sys
sources, paths = channel.receive()
sys.path.extend(path for path in paths if path not in sys.path)
if sources:
    import importlib.abc, importlib.machinery, importlib.util
    class Shipped(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
        def find_spec(self, name, path=None, target=None):
            if name in sources:
                return importlib.machinery.ModuleSpec(name, self, is_package=sources[name][0])
        def is_package(self, name):
            return sources[name][0]
        def get_source(self, name):
            return sources[name][1]
    sys.meta_path.insert(0, Shipped())
try:
    import numpy
except ImportError:
    channel.send({"missing": {"module": "numpy", "install": 'pip install "numpy>=1.26"'}, "text": ""})
else:
    from conformance.worker.host import serve
    serve(channel, *channel.receive())
"""


def known_backends() -> dict[str, str]:
    """The backends that installed packages offer: name -> `module:Class`."""
    return {entry.name: entry.value for entry in metadata.entry_points(group="conformance.backends")}


@cache  # reading what every package offers takes milliseconds, and it is asked for every case
def find_adapter(name: str) -> type[Backend] | None:
    """An adapter's class, without its framework: adapters load that only when constructed."""
    module, _, attribute = known_backends().get(name, "").partition(":")
    with contextlib.suppress(ImportError, AttributeError, ValueError):
        adapter: type[Backend] = getattr(importlib.import_module(module), attribute)
        return adapter
    return None


def installed_backends() -> tuple[str, ...]:
    """The backends whose framework this interpreter can import."""
    adapters = {name: find_adapter(name) for name in sorted(known_backends())}
    return tuple(
        name
        for name, adapter in adapters.items()
        if adapter is not None
        and all(importlib.util.find_spec(module.partition(".")[0]) for module in (adapter.module, *adapter.beside))
    )


def covers(target: Target, case: Case) -> bool:
    """Whether a case is asked of a target at all: a partial backend has chosen operators, a mode may lack some."""
    adapter = find_adapter(target.backend)
    if adapter is None:
        return True
    operators = set(operators_of(case.operator, case.attributes))
    lacks = [glob for mode in target.modes if mode in adapter.offers for glob in adapter.offers[mode].lacks]
    if any(fnmatchcase(operator, glob) for operator in operators for glob in lacks):
        return False
    return not adapter.partial or operators <= set(adapter.operators())


def layout_of(target: Target, case: Case, layout: Layout) -> Layout | None:
    """As what a target's backend knows a layout of a case: `native` where it is its users' own, None if not at all.

    A backend that is not found is given data natively.
    """
    adapter = find_adapter(target.backend)
    if adapter is None:
        return layout if layout == "native" else None
    return adapter.layout_of(layout, operators_of(case.operator, case.attributes))


def trains(target: Target) -> bool:
    """Whether networks are trained on a target.

    A partial backend has no layers to build them of, and a mode may drive single questions alone.
    """
    adapter = find_adapter(target.backend)
    if adapter is None:
        return True
    return not adapter.partial and all(adapter.offers[mode].trains for mode in target.modes if mode in adapter.offers)


def costly(target: Target) -> bool:
    """Whether one question to a target takes seconds, so that only a few are asked."""
    adapter = find_adapter(target.backend)
    return adapter is not None and any(adapter.offers[mode].costly for mode in target.modes if mode in adapter.offers)


def alone(target: Target) -> bool:
    """Whether a target has one worker at a time.

    A device of its own has, whose memory frameworks take whole, and who is not held to one thread.
    """
    return kind_of(target.device) != "cpu" or STOCK in target.modes


def environment_of(target: Target) -> dict[str, str]:
    """What a worker's process finds in its environment, beside what this process does."""
    adapter = find_adapter(target.backend)
    offers = adapter.offers if adapter is not None else {}
    found = {} if STOCK in target.modes else dict(ENVIRONMENT)
    for mode in target.modes:
        found |= offers[mode].environment if mode in offers else {}
    return found | dict(target.environment)


def shipped_sources() -> dict[str, tuple[bool, str]]:
    """The modules that a worker needs, as source: name -> (is a package, text)."""
    sources = {"conformance": (True, "")}
    root = resources.files("conformance")
    for name in SHIPPED:
        if (root / name).is_dir():
            sources |= _package_sources(f"conformance.{name}", root / name)
        else:
            sources[f"conformance.{name}"] = (False, (root / f"{name}.py").read_text(encoding="utf-8"))
    return sources


def _package_sources(package: str, folder: Traversable) -> dict[str, tuple[bool, str]]:
    sources: dict[str, tuple[bool, str]] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            sources |= _package_sources(f"{package}.{entry.name}", entry)
        elif entry.name.endswith(".py"):
            stem = entry.name.removesuffix(".py")
            module = package if stem == "__init__" else f"{package}.{stem}"
            sources[module] = (stem == "__init__", entry.read_text(encoding="utf-8"))
    return sources


class Worker:
    """A process that answers jobs for one target; it is started again when it has died.

    Raises (from `start`, and from the questions that start it):
        UnknownBackend, InvalidTarget, BackendMissing, WorkerFailed
    """

    def __init__(self, target: Target, path: str = "") -> None:
        """Nothing starts yet.

        Args:
            target: who is asked.
            path: `module:Class` of the adapter; looked up among the entry points if empty.
        """
        self.target = target
        self.path = path
        self._group: Any = None
        self._gateway: Any = None
        self._channel: Any = None
        self._folder = tempfile.TemporaryDirectory(prefix="conformance-")
        self._output = Path(self._folder.name) / "output.txt"
        self._closed = False
        self.starts = 0

    def start(self) -> Description:
        """Starts the process and waits for the backend to describe itself."""
        path = self.path or known_backends().get(self.target.backend, "")
        if not self.path:
            require_known(self.target)
        self.stop()
        self._output.write_bytes(b"")
        spec = execnet.XSpec("popen")
        spec.env.update(environment_of(self.target))  # not in the text, where a value could not hold `//`
        sources: dict[str, tuple[bool, str]] = {}
        if self.target.interpreter:
            spec.python = shlex.quote(self.target.interpreter)
            sources = shipped_sources()
        self._group = execnet.Group()
        try:
            self._gateway = self._group.makegateway(spec)
        except (OSError, EOFError) as error:
            raise WorkerFailed(self.target.name, f"{type(error).__name__}: {error}", "") from error
        if self._closed:  # by another thread, which has looked for the process already, or finds it
            self.stop()
            raise WorkerFailed(self.target.name, "it was closed", "")
        self._channel = self._gateway.remote_exec(_BOOTSTRAP)
        self.starts += 1
        try:
            self._channel.send((sources, [] if sources else [entry for entry in sys.path if entry]))
            who = (self.target.backend, path, self.target.device, self.target.modes, self.target.imports)
            self._channel.send((*who, str(self._output)))
            message = self._channel.receive(timeout=START_SECONDS)
        except self._channel.TimeoutError:
            words = self._last_words()
            self.stop()
            raise WorkerFailed(self.target.name, f"silent for {START_SECONDS:.0f} s", words) from None
        except (EOFError, OSError, self._channel.RemoteError) as error:
            words = self._last_words()
            self.stop()
            raise WorkerFailed(self.target.name, str(error) or "it closed the channel", words) from None
        if "missing" in message:
            self.stop()
            missing = message["missing"]
            raise BackendMissing(
                self.target.name, missing["module"], self.target.interpreter or sys.executable, missing["install"]
            )
        if "failed" in message:
            self.stop()
            raise WorkerFailed(self.target.name, message["failed"], "")
        description: Description = decode(message["ready"])
        return description

    def send(self, message: Job | TrainingMessage | ModelMessage) -> None:
        """Sends a message, starting the process if none is running; the answer is fetched by `receive`."""
        if self._channel is None:
            self.start()
        with contextlib.suppress(OSError):  # a process that just died is noticed by `receive`
            self._channel.send(encode(message))

    def receive(self, timeout: float) -> Any:
        """The answer to the message sent last; after a death or a time-out the next `send` starts a new process."""
        channel = self._channel  # another thread's `close` takes it away
        try:
            answer = decode(channel.receive(timeout=timeout))
        except channel.TimeoutError:
            self.stop()
            return TimedOut(seconds=timeout)
        except (EOFError, OSError, channel.RemoteError) as error:
            return self._obituary(error)
        return answer

    def ask(self, job: Job, timeout: float) -> Answer:
        """Sends a job and waits for its answer."""
        self.send(job)
        answer: Answer = self.receive(timeout)
        return answer

    def stop(self) -> None:
        """Ends the process, by force."""
        if self._gateway is not None:
            with contextlib.suppress(Exception):
                self._gateway._io.kill()
                self._gateway._io.wait()
            with contextlib.suppress(Exception):
                self._group.terminate(timeout=0.5)
        self._group = self._gateway = self._channel = None

    def close(self) -> None:
        """Ends the process for good and removes its files, also while another thread waits for an answer."""
        self._closed = True
        self.stop()
        self._folder.cleanup()

    def _obituary(self, error: BaseException) -> Crashed:
        code = None
        if isinstance(error, (EOFError, OSError)):  # else the host raised, and the process is still there
            with contextlib.suppress(Exception):
                code = self._gateway._io.popen.wait(timeout=10)
        if code is None:
            cause = f"the channel broke: {error}"
        elif code < 0:
            cause = signal.Signals(-code).name
        else:
            cause = f"exit code {code}"
        words = self._last_words()
        self.stop()
        return Crashed(cause=cause, last_words=words)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self._output.read_bytes()[-LAST_WORDS:].decode(errors="replace").strip()
        return ""


def require_known(target: Target) -> None:
    """Refuses a target whose backend or modes nobody offers here; another interpreter may have its own backends.

    Raises:
        UnknownBackend: with the nearest name, a framework's own name included.
        InvalidTarget: if the backend has not its modes.
    """
    known = known_backends()
    if target.backend in known or target.interpreter:
        adapter = find_adapter(target.backend)
        if adapter is not None:
            try:
                adapter.require_modes(target.device, target.modes)
            except NotTranslatable as error:
                raise InvalidTarget(target.name, str(error)) from error
        return
    names = {name: name for name in known}
    for name in known:
        adapter = find_adapter(name)
        if adapter is not None:
            names.setdefault(adapter.module, name)
    close = difflib.get_close_matches(target.backend, names, 1)
    raise UnknownBackend(target.backend, sorted(known), names[close[0]] if close else "")
