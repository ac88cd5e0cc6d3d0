"""PyTorch's side: a `torch.nn.Module`, every function call of which is seen as it is made.

Layers are found among calls, not among modules: `F.relu(x)`, `torch.cat` and a module's own `F.conv2d` look alike,
and what a user's `forward` does between modules does not stay unseen. A call is named by the module that makes it.
"""

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from conformance.backends.torch.backend import TorchBackend
from conformance.case.job import Description
from conformance.errors import InvalidModel
from conformance.models.base import Array, Models, Run, elements, require_shapes
from conformance.models.recording import Call, Names, Native, Record
from conformance.models.safetensors import read_safetensors
from conformance.models.torch_calls import DROPOUTS, IMAGES, SILENT, in_place, read_call

# Under these names checkpoints keep the parameters beside the optimiser's state.
_WITHIN: Final = ("state_dict", "model_state_dict", "model")
_COUNTERS: Final = ".num_batches_tracked"


class TorchModels(Models):
    """Hosts a `torch.nn.Module`."""

    module: ClassVar[str] = TorchBackend.module
    install: ClassVar[str] = TorchBackend.install

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self._backend = TorchBackend(device, modes)  # sets the strict switches
        import torch

        self._torch = torch
        self._model: Any = None

    def describe(self) -> Description:
        return self._backend.describe()

    def load(self, build: Callable[[], Any], weights: str) -> int:
        model = build()
        if not isinstance(model, self._torch.nn.Module):
            raise InvalidModel(self._file, f"its function gave {type(model).__name__}, expected a torch.nn.Module")
        self._model = model.eval()
        if weights:
            self._read(Path(weights))
        return elements([parameter.shape for parameter in model.parameters()])

    def _read(self, path: Path) -> None:
        torch = self._torch
        if path.suffix == ".safetensors":
            read = {name: torch.from_numpy(tensor.data) for name, tensor in read_safetensors(path).items()}
        else:
            try:
                read = torch.load(path, map_location="cpu", weights_only=True)
            except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
                # Its own text advises to run what is in the file.
                why = f"is nothing that weights_only reads ({type(error).__name__})"
                raise InvalidModel(
                    str(path), f"{why}; give torch.save(model.state_dict()), or safetensors"
                ) from error
        for name in _WITHIN:
            read = read[name] if isinstance(read, Mapping) and isinstance(read.get(name), Mapping) else read
        if not isinstance(read, Mapping) or not all(isinstance(value, torch.Tensor) for value in read.values()):
            raise InvalidModel(str(path), f"holds {type(read).__name__}, expected the model's state_dict()")
        own = self._model.state_dict()
        optional = [name for name in own if name.endswith(_COUNTERS)]
        require_shapes(str(path), read, {name: tuple(tensor.shape) for name, tensor in own.items()}, optional)
        self._model.load_state_dict(read, strict=False)

    def parameters(self) -> dict[str, Array]:
        return {name: self.numbers(tensor) for name, tensor in self._model.state_dict().items()}

    def put(self, parameters: Mapping[str, Array]) -> None:
        own = self._model.state_dict(keep_vars=True)
        require_shapes(self._file, parameters, {name: tuple(t.shape) for name, t in own.items()}, tuple(own))
        with self._torch.no_grad():
            for name, array in parameters.items():
                own[name].copy_(self._torch.from_numpy(np.array(array)))

    def run(self, inputs: Sequence[Array], cotangents: Sequence[Array], noise: Mapping[str, Array]) -> Run:
        torch = self._torch
        run = Run()
        given = [torch.from_numpy(np.array(array)) for array in inputs]
        for tensor in given:
            tensor.requires_grad_(tensor.is_floating_point())
        self._model.train(self.training)
        watch = _Watch(self._model, run, noise)
        try:
            with torch.set_grad_enabled(not noise), watch.watching(torch):
                found = self._model(*given)
        except Exception as error:  # the model's own: what ran before it is told
            run.error = error
            run.fold()
            return run
        run.outputs = _tensors(torch, found)
        run.fold()
        if cotangents:
            wanted = [tensor for tensor in run.wanted() if tensor.requires_grad]
            heads = [torch.from_numpy(np.array(array)) for array in cotangents]
            got = torch.autograd.grad(run.outputs, wanted, heads, allow_unused=True)
            run.gradients = {id(t): g for t, g in zip(wanted, got, strict=True) if g is not None}
        return run

    def numbers(self, native: Native) -> Array:
        array: Array = native.detach().cpu().numpy().copy()
        return array

    def to_native(self, array: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if array.ndim in IMAGES else array

    def from_native(self, native: Native) -> Array:
        return self.house_activation(self.numbers(native), images=native.ndim in IMAGES)

    def house_activation(self, array: Array, *, images: bool) -> Array:
        return np.moveaxis(array, 1, -1) if images and array.ndim > 2 else array

    def house_parameter(self, call: Call, operand: str, array: Array) -> Array:
        # (out, in, *spatial), transposed (in, out, *spatial), dense (out, in): all turn round alike.
        return array.transpose(*range(2, array.ndim), 1, 0) if operand == "w" else array

    def native_parameter(self, call: Call, operand: str, shape: tuple[int, ...]) -> Callable[[Array], Array]:
        if operand != "w":
            return lambda array: array
        last = len(shape) - 1
        return lambda array: array.transpose(last, last - 1, *range(last - 1))


def _tensors(torch: Any, found: Any) -> tuple[Native, ...]:
    """The tensors that a model gives, whatever holds them."""
    if isinstance(found, torch.Tensor):
        return (found,)
    if isinstance(found, Mapping):
        found = tuple(found.values())
    if isinstance(found, (tuple, list)):
        return tuple(tensor for part in found for tensor in _tensors(torch, part))
    raise TypeError(f"the model gave {type(found).__name__}, expected tensors")


class _Watch:
    """Sees the calls of one pass: records what it knows, lists what it does not."""

    def __init__(self, model: Any, run: Run, noise: Mapping[str, Array]) -> None:
        self._run = run
        self._noise = noise
        self._model = model
        self._parameters = {id(t): name for name, t in model.state_dict(keep_vars=True).items()}
        self._path: list[str] = []
        self._names = Names()

    def watching(self, torch: Any) -> Any:
        """A context in which calls are seen."""
        from torch.overrides import TorchFunctionMode

        watch = self
        names = {module: name for name, module in self._model.named_modules()}

        class Mode(TorchFunctionMode):  # type: ignore[misc]  # torch is not there for mypy
            def __enter__(self) -> Any:
                self._handles = [
                    handle
                    for module in names
                    for handle in (
                        module.register_forward_pre_hook(lambda module, _: watch._path.append(names[module])),
                        module.register_forward_hook(lambda *_: watch._leave(), always_call=True),
                    )
                ]
                return super().__enter__()

            def __exit__(self, *error: object) -> None:
                super().__exit__(*error)
                for handle in self._handles:
                    handle.remove()

            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                return watch.called(torch, func, args, kwargs or {})

        return Mode()

    def called(self, torch: Any, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Makes one call, on tapped inputs where it is a layer."""
        name = getattr(func, "__name__", "")
        read = [part for part in _flat((args, tuple(kwargs.values()))) if isinstance(part, torch.Tensor)]
        if name.removesuffix("_") in DROPOUTS:
            return read[0]
        if name in SILENT or name.startswith("__get") or not any(tensor.is_floating_point() for tensor in read):
            return func(*args, **kwargs)
        taps = {id(tensor): tensor.clone() if tensor.is_floating_point() else tensor for tensor in read}
        plain = in_place(name)
        made = getattr(torch.Tensor, plain) if plain else func
        tapped, options = _replaced(args, taps, torch), _replaced(kwargs, taps, torch)
        overwrites = bool(plain) or bool(kwargs.get("inplace"))
        if "inplace" in options:
            options["inplace"] = False
        output = made(*tapped, **options)
        call = read_call(name, tapped, options, output) if isinstance(output, torch.Tensor) else None
        if call is None:
            self._tell(torch, name, args, output)
            return func(*args, **kwargs)
        back = {id(tap): tensor for tensor in read if (tap := taps[id(tensor)]) is not tensor}
        parameters = {
            operand: self._parameters[id(back[id(tap)])]
            for operand, tap in call.operands.items()
            if id(back.get(id(tap))) in self._parameters
        }
        statistics = {}
        if call.operator == "batch_norm_training":
            # The taps were updated in place of what the model keeps.
            statistics = {operand: call.operands[operand] for operand in ("mean", "variance")}
            kept = {operand: back[id(tap)] for operand, tap in statistics.items()}
            call = replace(call, operands={**call.operands, **kept})
        layer = self._names.next(self._name(name))
        handed = output.clone()
        if layer in self._noise:
            images = call.images and output.ndim > 2
            added = torch.from_numpy(np.array(self._noise[layer]))
            added = added.reshape(output.shape) if call.squeezed else added
            handed = handed + (added.movedim(-1, 1) if images and not call.squeezed else added)
        if overwrites:
            args[0].copy_(handed)
            handed = args[0]
        self._run.records.append(
            Record(
                name=layer,
                native=self._native(name, args[1:], kwargs, torch),
                call=call,
                output=output,
                parameters=parameters,
                read=tuple(back[id(tap)] for operand, tap in call.operands.items() if operand not in parameters),
                handed=handed,
                statistics=statistics,
            )
        )
        return handed

    def _leave(self) -> None:
        self._path.pop()

    @property
    def _module(self) -> Any:
        return self._model.get_submodule(self._path[-1]) if self._path else self._model

    def _name(self, function: str) -> str:
        """A leaf module's own path; else that of the module that calls, and the function's name."""
        path = self._path[-1] if self._path else ""
        if path and not any(True for _ in self._module.children()):
            return path
        return f"{path}.{in_place(function) or function}".lstrip(".")

    def _native(self, function: str, rest: Sequence[Any], kwargs: Mapping[str, Any], torch: Any) -> str:
        if self._path and self._path[-1] and not any(True for _ in self._module.children()):
            return re.sub(r"\s+", " ", repr(self._module))
        told = [repr(value) for value in rest if isinstance(value, (int, float, str, tuple))]
        told += [f"{name}={value!r}" for name, value in kwargs.items() if not isinstance(value, torch.Tensor)]
        return f"{function}({', '.join(told)})"

    def _tell(self, torch: Any, name: str, args: Sequence[Any], output: Any) -> None:
        """Lists a call that no layer is, unless it leaves its numbers as and where they are."""
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return
        x = args[0] if args else None
        if isinstance(x, torch.Tensor) and _unmoved(x, output):
            return
        shape = tuple(x.shape) if isinstance(x, torch.Tensor) else ""
        self._run.unrecognised.append(f"{self._names.next(self._name(name))}: {name} of {shape}")


def _unmoved(x: Native, output: Native) -> bool:
    """Whether numbers are left as and where they are, but for axes of size 1."""
    sizes = [[n for n in tensor.shape if n != 1] for tensor in (x, output)]
    return sizes[0] == sizes[1] and bool((x.flatten() == output.flatten()).all())


def _flat(value: Any) -> list[Any]:
    return [part for each in value for part in _flat(each)] if isinstance(value, (tuple, list)) else [value]


def _replaced(value: Any, taps: Mapping[int, Native], torch: Any) -> Any:
    """A call's arguments with every tensor's tap in its place."""
    if isinstance(value, torch.Tensor):
        return taps[id(value)]
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(each, taps, torch) for each in value)
    if isinstance(value, Mapping):
        return {name: _replaced(each, taps, torch) for name, each in value.items()}
    return value
