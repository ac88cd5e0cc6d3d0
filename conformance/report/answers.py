"""What `explain` answers without a case: an operator's geometry and its call everywhere, or a chain of layers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Final

from conformance.case.model import Shape
from conformance.case.operators import OPERATORS
from conformance.dialects.chains import Followed, follow
from conformance.dialects.model import Question, batched
from conformance.dialects.table import DIALECTS
from conformance.report.axes import Axis, resolve_axes
from conformance.report.explanation import explain_axis
from conformance.run.questions import BATCH, Asked, Spoken, UnclearQuestion, dialects_of, question_of, say, sizes_of

_LINE: Final = "\n"
# Attributes that are several numbers, and no sizes.
_LISTS: Final = ("axes", "coefficients")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One operator or layer: what goes in and comes out, without the batch, and its axes in words and signs.

    `axes` are those that it slides over, of each of its questions that slides.
    """

    text: str
    given: str
    output: str
    lines: tuple[str, ...] = ()
    axes: tuple[tuple[Axis, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call in one framework, and what is to be known about it; no lines where there is none."""

    title: str
    lines: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An answer, to print or to show in a notebook.

    Attributes:
        title: what was asked.
        stages: operators or layers in their order, as far as they go.
        fault: where and why the next one cannot go on; empty if all do.
        calls: how the frameworks say it.
    """

    title: str
    stages: tuple[Stage, ...]
    fault: str = ""
    calls: tuple[Call, ...] = ()

    @property
    def whole(self) -> bool:
        """Every layer goes on."""
        return not self.fault

    def __str__(self) -> str:
        lines = [self.title]
        for stage in self.stages:
            lines += ["", f"{stage.text}: {stage.given} -> {stage.output}", *stage.lines]
        if self.fault:
            lines += ["", self.fault]
        for call in self.calls:
            lines += ["", call.title, *(f"    {line}" for line in call.lines)]
            lines += [f"  {remark}" for remark in call.remarks]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A table of shapes and the calls, for notebooks; every text is escaped."""
        rows = "".join(
            f"<tr><td><code>{escape(stage.text)}</code></td><td>{escape(stage.given)}</td>"
            f"<td>{escape(stage.output)}</td><td>{_pre(stage.lines)}</td></tr>"
            for stage in self.stages
        )
        head = "<tr><th>layer</th><th>given</th><th>output</th><th>geometry</th></tr>"
        fault = f"<p><strong>{escape(self.fault)}</strong></p>" if self.fault else ""
        calls = "".join(
            f"<h4>{escape(call.title)}</h4>{_pre(call.lines)}"
            + "".join(f"<p>{escape(remark)}</p>" for remark in call.remarks)
            for call in self.calls
        )
        return f"<p>{escape(self.title)}</p><table>{head}{rows}</table>{fault}{calls}"


def _pre(lines: Sequence[str]) -> str:
    return f"<pre>{escape(_LINE.join(lines))}</pre>"


def explain(
    what: str = "conv2d",
    /,
    *,
    input: str | Sequence[int],  # noqa: A002  # the word of the command line
    to: str = "",
    **options: Any,
) -> Explanation:
    """Explains an operator, or a chain of layers.

        conformance.explain("conv2d_transpose", input="20x10", kernel=3, stride=2, padding="same")
        conformance.explain("Conv2D(1, 4, padding='same') | Flatten()", input=(20, 10, 1))

    Args:
        what: an operator's name, or layers of `keras.layers` or `torch.nn` joined by `|`; they are read, never
            evaluated.
        input: sizes without the batch; of layers with the channels, where their framework has them.
        to: whose calls are written and, where they are installed, run: `torch,keras`; all if empty.
        options: `kernel`, `stride`, `padding`, `dilation`, `output_padding`, `groups`, `channels`, `filters`, `ceil`
            as on the command line; other attributes by their names. Layers take none.

    Raises:
        UnclearQuestion, UnreadableLayer: if the question cannot be understood.
        ImpossibleShape: if an operator has no answer.
    """
    sizes = input if isinstance(input, str) else "x".join(map(str, input))
    if "(" in what:
        if options or to:
            given = ", ".join([*options, *(["to"] if to else [])])
            raise UnclearQuestion(f"layers say everything themselves, got {given} beside them")
        return explain_chain(what, sizes)
    own = {name: options.pop(name) for name in tuple(options) if name in Asked.__dataclass_fields__}
    texts = ("kernel", "stride", "padding", "dilation", "output_padding")
    own |= {name: _text(own[name]) for name in texts if name in own}
    more = {name: value if isinstance(value, str) else repr(value) for name, value in options.items()}
    return explain_question(Asked(operator=what, input=sizes, more=more, **own), to)


def _text(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "x".join(":".join(map(str, part)) if isinstance(part, (tuple, list)) else str(part) for part in value)
    return str(value)


def explain_question(asked: Asked, to: str = "") -> Explanation:
    """An operator's geometry, and its call in every framework.

    Raises:
        UnclearQuestion: if the question cannot be understood.
        ImpossibleShape: if it has no answer.
    """
    dialects = dialects_of(to)
    question = question_of(asked)
    axes, whole = _axes(question), batched(question.contract)
    stage = Stage(
        text=question.operator,
        given=_told(question.first) if whole else _sizes(question.first),
        output=_told(question.output) if whole else _sizes(question.output),
        lines=tuple(line for axis in axes for line in explain_axis(axis)),
        axes=(axes,) if axes else (),
    )
    rank = question.contract.rank
    filled = []
    if rank and asked.channels is None and len(sizes_of(asked.input)) <= rank:
        filled.append(f"{question.shapes['x'][-1]} channels")
    if asked.filters is None and "w" in question.shapes and "b" in question.shapes:
        filled.append(f"{question.shapes['b'][0]} filters")
    if asked.filters is None and question.operator == "matmul":
        filled.append(f"{question.shapes['y'][-1]} columns of y")
    assumed = " and ".join(filled)
    title = f"{question.operator}{_attributes(question)}" + (f" ({assumed}, as none are given)" if assumed else "")
    return Explanation(title=title, stages=(stage,), calls=tuple(map(_call, say(question, dialects))))


def _attributes(question: Question) -> str:
    """What was asked beside the sizes, without what changes nothing."""
    given = asdict(question.attributes)
    if question.contract.rank and "w" in question.shapes:
        given = {"kernel": question.shapes["w"][: question.contract.rank], **given}
    idle = {"stride": {1}, "dilation": {1}, "groups": {1}, "output_padding": {0}, "ceil_mode": {False}}
    idle |= {"output_size": set(), "pad_mode": {"zeros"}}
    told = [
        f"{name} {value if name in _LISTS else _text(value) or value}"
        for name, value in given.items()
        if value is not False and value is not None
        if set(value if isinstance(value, tuple) else (value,)) != idle.get(name)
    ]
    return f", {', '.join(told)}" if told else ""


def _call(spoken: Spoken) -> Call:
    return Call(title=spoken.dialect.title, lines=spoken.lines, remarks=spoken.remarks)


def _axes(question: Question) -> tuple[Axis, ...]:
    """The spatial axes of what slides a window; none of anything else."""
    if not question.judged or not OPERATORS[question.operator].rank:
        return ()
    attributes: Mapping[str, Any] = asdict(question.attributes)
    return resolve_axes(question.operator, attributes, question.shapes)


def _told(shape: Shape, *, first: bool = False) -> str:
    """A shape without its batch, with its channels first where the framework has them so."""
    rest = shape[1:]
    if first and len(rest) > 1:
        rest = (rest[-1], *rest[:-1])
    return _sizes(rest)


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a number"


def explain_chain(text: str, given: str) -> Explanation:
    """Layers followed shape by shape; where one cannot go on, which and why.

    Raises:
        UnclearQuestion: if the sizes cannot be read.
        UnreadableLayer: if the layers cannot.
    """
    if not given:
        raise UnclearQuestion("--input is missing: the sizes of the data with its channels, as in --input 20x10x1")
    sizes = sizes_of(given)
    last = (BATCH, *sizes)
    first = (BATCH, *sizes[1:], sizes[0]) if len(sizes) > 1 else last
    followed = follow(text, last)
    if DIALECTS[followed.dialect].channels_first:
        followed = follow(text, first, followed.dialect)
    return _explained(followed, given)


def _explained(followed: Followed, given: str) -> Explanation:
    dialect = DIALECTS[followed.dialect]
    x = followed.x
    stages = []
    for step in followed.steps:
        sliding = tuple(axes for question in step.questions if (axes := _axes(question)))
        lines = [
            f"  {axis.name}: {axis.formula}" + (f"; {axis.remark}" if axis.remark else "")
            for axes in sliding
            for axis in axes
        ]
        before, after = (_told(shape, first=dialect.channels_first) for shape in (x, step.output))
        stages.append(Stage(text=step.text, given=before, output=after, lines=tuple(lines), axes=sliding))
        x = step.output
    order = "channels first" if dialect.channels_first else "channels last"
    title = f"{len(followed.calls)} layers of {dialect.title}, given {given}, {order}"
    if not followed.fault:
        return Explanation(title=title, stages=tuple(stages))
    place = len(followed.steps)
    broken = followed.calls[place].text
    fault = f"layer {place + 1}, {broken}, breaks, given {_told(x, first=dialect.channels_first)}: {followed.fault}"
    return Explanation(title=title, stages=tuple(stages), fault=fault)
