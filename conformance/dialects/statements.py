"""Statements: what is no layer, and how scripts of them run in the frameworks whose other calls are layers."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from conformance.dialects.model import Question, Weight, Written
from conformance.dialects.moves import Moves, back, channels_first, moved

# How NumPy arrays become a framework's.
TAKEN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "torch": "torch.from_numpy({}.copy())",
        "tf": "tf.constant({})",
        "jax": "jnp.asarray({})",
    }
)


def stated(
    question: Question, *lines: str, remark: str = "", lies: Mapping[str, Moves] = MappingProxyType({})
) -> Written:
    """Statements from a question's operands, under their own names, to `y`."""
    return Written(
        lines=lines,
        weights=tuple(Weight(operand=name, name=name) for name in list(question.shapes)[1:]),
        remark=remark,
        statements=True,
        lies=lies,
    )


def torch_script(written: Written, question: Question) -> tuple[str, ...]:
    """As `torch.script`, of statements: images come and go with their channels moved."""

    def lies(name: str, axes: int) -> Moves:
        return written.lies.get(name, channels_first(axes))

    if not question.learned:
        return plain_script(written, question, "torch", lies)
    lines = []
    for name, shape in question.shapes.items():
        given = moved(f'given["{name}"]', lies(name, len(shape)))
        lines.append(f"{name} = {TAKEN['torch'].format(given)}")
    pulled = moved('given["cotangent"]', lies("output", len(question.output)))
    lines += [
        f"sources = [{', '.join(f'{name}.requires_grad_()' for name in question.learned)}]",
        *written.lines,
        f'found = {{"output": {_to_last("y.detach()", written.lies.get("output"))}}}',
        *(f'found["{name}"] = {_to_last(name)}' for name in question.contract.state),
        f"pulled = {TAKEN['torch'].format(pulled)}",
        "if y.shape == pulled.shape:",
        "    y.backward(pulled)",
    ]
    for place, name in enumerate(question.learned):
        lines.append(f'    found["gradient {name}"] = {_to_last(f"sources[{place}].grad", written.lies.get(name))}')
    return tuple(lines)


def _to_last(tensor: str, lies: Moves | None = None) -> str:
    if lies is not None:
        return moved(f"{tensor}.numpy()", back(lies))
    return f"({tensor}.movedim(1, -1) if {tensor}.ndim > 2 else {tensor}).numpy()"


def keras_script(written: Written, question: Question) -> tuple[str, ...]:
    """As `keras.script`, of statements."""
    if not question.learned:
        return plain_script(written, question, "tf")
    return (
        *(f'{name} = tf.constant(given["{name}"])' for name in question.shapes),
        f"sources = [{', '.join(question.learned)}]",
        "with tf.GradientTape() as tape:",
        "    tape.watch(sources)",
        *(f"    {line}" for line in written.lines),
        'found = {"output": y.numpy()}',
        *(f'found["{name}"] = {name}.numpy()' for name in question.contract.state),
        'pulled = tf.constant(given["cotangent"])',
        "if y.shape == pulled.shape:",
        "    gradients = tape.gradient(y, sources, output_gradients=pulled, unconnected_gradients='zero')",
        *(f'    found["gradient {name}"] = gradients[{i}].numpy()' for i, name in enumerate(question.learned)),
    )


def plain_script(
    written: Written,
    question: Question,
    framework: str,
    lies: Callable[[str, int], Moves] = lambda name, axes: (),
) -> tuple[str, ...]:
    """The script of what has no gradients: updates, and draws, of which the second follows the first."""
    shapes = question.contract.shapes(question.attributes, question.shapes)

    def taken(name: str, variable: str) -> str:
        moves = lies("output" if question.contract.random else name, len(shapes[name]))
        return f'found["{name}"] = {moved(f"np.array({variable})", back(moves))}'

    lines = ["found = {}"]
    for name, shape in question.shapes.items():
        given = moved(f'given["{name}"]', lies(name, len(shape)))
        lines.append(f"{name} = {TAKEN[framework].format(given)}")
    lines += written.lines
    if question.contract.random:
        first, second = question.contract.outputs
        lines += [taken(first, "y"), *written.lines[1:], taken(second, "y")]
    else:
        lines += [taken(name, name) for name in shapes]
    return tuple(lines)
