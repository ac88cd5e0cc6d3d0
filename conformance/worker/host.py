"""The worker's side: hosts one backend, or one model of a user's, and answers until the channel closes.

It runs in a process of its own, perhaps under another interpreter where this package is not installed; then the
gateway sends the sources of `case`, `backends`, `models`, `worker`, `formats` and `errors`; they need NumPy alone.
"""

import contextlib
import faulthandler
import importlib
import os
from dataclasses import replace
from importlib import metadata
from typing import Any

from conformance.backends.base import Backend, refused
from conformance.case.job import Job, TrainingMessage, Unsupported
from conformance.errors import ImpossibleShape, NotTranslatable
from conformance.models.base import Models
from conformance.worker.wire import decode, encode


def find_backend(name: str, path: str) -> type[Backend | Models]:
    """The class of an adapter or of a model's host, from `module:Class`; by the entry point's name if that is empty.

    Raises:
        NotTranslatable: if no entry point has the name.
    """
    if not path:
        found = metadata.entry_points(group="conformance.backends", name=name)
        if not found:
            raise NotTranslatable(f"no backend is named {name!r} in this interpreter")
        path = next(iter(found)).value
    module, _, attribute = path.partition(":")
    adapter: type[Backend | Models] = getattr(importlib.import_module(module), attribute)
    return adapter


def redirect_output(path: str) -> None:
    """Sends file descriptors 1 and 2 to a file, so that native code's last words are kept and stdout stays clean."""
    sink = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(sink, descriptor)
    os.close(sink)
    faulthandler.enable()


def serve(
    channel: Any, name: str, path: str, device: str, modes: tuple[str, ...], imports: tuple[str, ...], output: str
) -> None:
    """Imports the backend, says so, then answers message by message until the parent closes the channel."""
    redirect_output(output)
    for module in imports:
        try:
            importlib.import_module(module)
        except Exception as error:  # a driver's own, too
            channel.send({"failed": f"cannot import {module!r}, which it names: {type(error).__name__}: {error}"})
            return
    try:
        adapter = find_backend(name, path)
        backend = adapter(device, modes)
    except NotTranslatable as error:
        channel.send({"failed": str(error)})
        return
    except ImportError as error:
        missing = {"module": error.name or str(error), "install": ""}
        with contextlib.suppress(NameError):
            missing = {"module": error.name or adapter.module, "install": adapter.install}
        channel.send({"missing": missing, "text": str(error)})
        return
    channel.send({"ready": encode(backend.describe())})
    for message in channel:
        channel.send(answered(backend, decode(message)))


def answered(backend: Backend | Models, message: Any) -> bytes:
    """An answer as bytes; one that has no place on the wire is told as a refusal."""
    try:
        return encode(respond(backend, message))
    except TypeError as error:
        return encode(refused(error))


def respond(backend: Backend | Models, message: Any) -> Any:
    """One answer to one message; what the framework raises is an answer too."""
    if isinstance(backend, Models):
        return backend.reply(message)
    try:
        if isinstance(message, Job):
            return backend.answer(message)
        if isinstance(message, TrainingMessage):
            return backend.train(message)
        raise NotTranslatable(f"this worker cannot answer a {type(message).__name__}")
    except (NotTranslatable, ImpossibleShape) as error:  # a recipe that needs sizes finds none: nobody was asked
        return Unsupported(reason=str(error))
    except (Exception, SystemExit) as error:  # a framework that calls sys.exit has raised, and the worker goes on
        return replace(refused(error), calls=backend.log.lines({}) or backend.calls({}))
