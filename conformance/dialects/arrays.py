"""What joins, adds, multiplies and averages arrays, or moves pixels into channels, as statements."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from conformance.dialects.model import Question, Unwritten, Writer, Written
from conformance.dialects.moves import Transpose
from conformance.dialects.source import Name, called
from conformance.dialects.statements import stated

_X: Final = Name("x")


def _line(template: str) -> Writer:
    return lambda question: stated(question, template)


def _channels_first(axes: int) -> tuple[int, ...]:
    """The house's axes in torch's order."""
    return (0, *([axes - 1] if axes > 1 else []), *range(1, axes - 1))


def _torch_pairwise(sign: str) -> Writer:
    """As they lie where one is stretched to the other's axes, which are counted from the last."""

    def write(question: Question) -> Written:
        x, y = question.shapes.values()
        lies = {} if len(x) == len(y) else {"x": (), "y": (), "output": ()}
        remark = "arrays broadcast from their last axes, which are no channels in torch's images" if lies else ""
        return stated(question, f"y = x {sign} y", remark=remark, lies=lies)

    return write


def _torch_matmul(question: Question) -> Written:
    return stated(question, "y = torch.matmul(x, y)", lies={"x": (), "y": (), "output": ()})


def _torch_bias(question: Question) -> Written:
    behind = len(question.first) - 2
    return stated(question, f"y = x + b[{', '.join([':', *['None'] * behind])}]" if behind > 0 else "y = x + b")


def _torch_concat(question: Question) -> Written:
    axes = len(question.first)
    axis = _channels_first(axes).index(question.attributes.axis % axes)
    return stated(question, f"y = torch.cat((x, y), dim={axis})", remark=_counted(axes))


def _torch_mean(question: Question) -> Written:
    axes, a = len(question.first), question.attributes
    first, gone = _channels_first(axes), {axis % axes for axis in a.axes}
    dims = tuple(sorted(first.index(axis) for axis in gone))
    line = f"y = {called('torch.mean', _X, dim=(dims, None), keepdim=(a.keepdims, False))}"
    lies = {}
    if not a.keepdims:
        kept = [axis for axis in range(axes) if axis not in gone]
        order = tuple(kept.index(axis) for axis in first if axis not in gone)
        lies = {"output": (Transpose(order),) if order != tuple(sorted(order)) else ()}
    return stated(question, line, remark=_counted(axes), lies=lies)


def _counted(axes: int) -> str:
    return "axes are counted with the channels first" if axes > 2 else ""


def _joined(name: str) -> Writer:
    def write(question: Question) -> Written:
        return stated(question, f"y = {name}((x, y), axis={question.attributes.axis})")

    return write


def _keras_concat(question: Question) -> Written:
    axis = question.attributes.axis
    if axis % len(question.first) == 0:
        return stated(question, f"y = ops.concatenate((x, y), axis={axis})", remark="the layer never joins batches")
    return stated(question, f"y = {called('layers.Concatenate', axis=(axis, -1))}([x, y])")


def _keras_pairwise(name: str) -> Writer:
    """A layer of a list; functions broadcast otherwise than it does."""

    def write(question: Question) -> Written:
        x, y = question.shapes.values()
        if x == y and len(x) > 1:
            return stated(question, f"y = layers.{name}()([x, y])")
        return stated(question, f"y = ops.{name.lower()}(x, y)")

    return write


def _mean(name: str) -> Writer:
    def write(question: Question) -> Written:
        a = question.attributes
        return stated(question, f"y = {called(name, _X, axis=(a.axes, None), keepdims=(a.keepdims, False))}")

    return write


def _horner(coefficients: Sequence[float]) -> str:
    """A polynomial as NumPy computes it; a constant keeps its x, by which there is a gradient."""
    text = f"{coefficients[0]!r}" if len(coefficients) > 1 else "0.0"
    for place, coefficient in enumerate(coefficients[1:] if len(coefficients) > 1 else coefficients):
        sign = "-" if coefficient < 0 else "+"
        text = f"{f'({text})' if place else text} * x {sign} {abs(coefficient)!r}"
    return text


def _polynomial(question: Question) -> Written:
    return stated(question, f"y = {_horner(question.attributes.coefficients or (0.0,))}")


def _polyval(line: str) -> Writer:
    def write(question: Question) -> Written:
        coefficients = question.attributes.coefficients
        # One alone is a number, whatever the x.
        return stated(question, line.format(list(coefficients))) if len(coefficients) > 1 else _polynomial(question)

    return write


def reordered(framework: str, name: str, outer: int, inner: int) -> str:
    """The line that makes channels that count (outer, inner) count (inner, outer)."""
    if framework == "torch":
        return f"{name} = {name}.unflatten(1, ({outer}, {inner})).transpose(1, 2).flatten(1, 2)"
    split = f"(*{name}.shape[:-1], {outer}, {inner})"
    if framework == "tf":
        last = f"tf.experimental.numpy.swapaxes(tf.reshape({name}, {split}), -1, -2)"
        return f"{name} = tf.reshape({last}, {name}.shape)"
    if framework == "keras":
        return f"{name} = ops.reshape(ops.swapaxes(ops.reshape({name}, {split}), -1, -2), {name}.shape)"
    return f"{name} = {name}.reshape({split}).swapaxes(-1, -2).reshape({name}.shape)"


def blocks(framework: str, call: str, own: str) -> Writer:
    """Pixels in channels where a framework has an order of them, `own`, and channels are reordered for the other.

    Args:
        framework: whose lines reorder them.
        call: the framework's call of `{operator}`, the array's `{name}` and the `{block}`.
        own: `dcr` or `crd`.
    """

    def write(question: Question) -> Written | Unwritten:
        a, up = question.attributes, question.operator == "depth_to_space"
        square, channels = a.block**2, (question.output if up else question.first)[-1]
        made = call.format(operator=question.operator, block=a.block, up=up)
        if a.order == own or channels == 1 or square == 1:
            return stated(question, f"y = {made}")
        remark = f"there is the order {own} alone: channels are reordered {'before' if up else 'behind'} it"
        # Before it they count as asked, behind it as the framework's own.
        asked = (square, channels) if (a.order == "dcr") is up else (channels, square)
        turn = reordered(framework, "x" if up else "y", *asked)
        lines = (turn, f"y = {made}") if up else (f"y = {made}", turn)
        return stated(question, *lines, remark=remark)

    return write


TORCH: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "add": _torch_pairwise("+"),
        "multiply": _torch_pairwise("*"),
        "matmul": _torch_matmul,
        "bias_add": _torch_bias,
        "concat": _torch_concat,
        "mean": _torch_mean,
        "polynomial": _polynomial,
    }
)
KERAS: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "add": _keras_pairwise("Add"),
        "multiply": _keras_pairwise("Multiply"),
        "matmul": _line("y = ops.matmul(x, y)"),
        "bias_add": _line("y = ops.add(x, b)"),
        "concat": _keras_concat,
        "mean": _mean("ops.mean"),
        "polynomial": _polynomial,
        "depth_to_space": blocks("keras", "ops.{operator}(x, {block})", "dcr"),
        "space_to_depth": blocks("keras", "ops.{operator}(x, {block})", "dcr"),
    }
)
TENSORFLOW: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "add": _line("y = x + y"),
        "multiply": _line("y = x * y"),
        "matmul": _line("y = tf.matmul(x, y)"),
        "bias_add": _line("y = tf.nn.bias_add(x, b)"),
        "concat": _joined("tf.concat"),
        "mean": _mean("tf.reduce_mean"),
        "polynomial": _polyval("y = tf.math.polyval({}, x)"),
        "depth_to_space": blocks("tf", "tf.nn.{operator}(x, {block})", "dcr"),
        "space_to_depth": blocks("tf", "tf.nn.{operator}(x, {block})", "dcr"),
    }
)
JAX: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "add": _line("y = x + y"),
        "multiply": _line("y = x * y"),
        "matmul": _line("y = jnp.matmul(x, y)"),
        "bias_add": _line("y = x + b"),
        "concat": _joined("jnp.concatenate"),
        "mean": _mean("jnp.mean"),
        "polynomial": _polyval("y = jnp.polyval(jnp.array({}), x)"),
    }
)
