"""Statements in the frameworks whose other calls are layers, as bodies of functions that run them."""

from conformance.dialects.model import Question, Written
from conformance.dialects.moves import channels_first, moved


def torch_script(written: Written, question: Question) -> tuple[str, ...]:
    """As `torch.script`, of statements: images come and go with their channels moved."""
    learned = [name for name in question.shapes if question.contract.operand(name).differentiable]
    lines = []
    for name, shape in question.shapes.items():
        given = moved(f'given["{name}"]', channels_first(len(shape)))
        lines.append(f"{name} = torch.from_numpy({given}.copy())")
    pulled = moved('given["cotangent"]', channels_first(len(question.output)))
    lines += [
        *(f"{name}.requires_grad_()" for name in learned),
        *written.lines,
        f'found = {{"output": {_to_last("y.detach()")}}}',
        *(f'found["{name}"] = {_to_last(name)}' for name in question.contract.state),
        f"pulled = torch.from_numpy({pulled}.copy())",
        "if y.shape == pulled.shape:",
        "    y.backward(pulled)",
        *(f'    found["gradient {name}"] = {_to_last(f"{name}.grad")}' for name in learned),
    ]
    return tuple(lines)


def _to_last(tensor: str) -> str:
    return f"({tensor}.movedim(1, -1) if {tensor}.ndim > 2 else {tensor}).numpy()"


def keras_script(written: Written, question: Question) -> tuple[str, ...]:
    """As `keras.script`, of statements."""
    learned = [name for name in question.shapes if question.contract.operand(name).differentiable]
    return (
        *(f'{name} = tf.constant(given["{name}"])' for name in question.shapes),
        f"sources = [{', '.join(learned)}]",
        "with tf.GradientTape() as tape:",
        "    tape.watch(sources)",
        *(f"    {line}" for line in written.lines),
        'found = {"output": y.numpy()}',
        'pulled = tf.constant(given["cotangent"])',
        "if y.shape == pulled.shape:",
        "    gradients = tape.gradient(y, sources, output_gradients=pulled, unconnected_gradients='zero')",
        *(f'    found["gradient {name}"] = gradients[{i}].numpy()' for i, name in enumerate(learned)),
    )
