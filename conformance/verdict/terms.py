"""Which products entered one element: its terms by index, and the one that explains what came back instead.

Sums of products are multilinear, so an operator here is a list of *links*: index tuples that belong together, of the
output and of every operand, axis by axis. Fixing the output's index enumerates the terms of an output, fixing an
operand's those of its gradient, with the cotangent in the output's place.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Final

import numpy as np

from conformance.case.families.convolution import settled
from conformance.case.geometry import resolve_pads, transposed_crop
from conformance.case.job import Job
from conformance.case.model import Shape
from conformance.case.operators import OPERATORS
from conformance.errors import ImpossibleShape
from conformance.formats import STORED, Float64
from conformance.verdict.compare import interval
from conformance.verdict.model import Comparison
from conformance.verdict.oracle import to_float64
from conformance.verdict.variants.reading import kernel_of, sizes_of

# Lines that a reader takes in; the rest is told as a sum.
MOST_SHOWN: Final = 4
# Of more terms nobody looks for one, and listing them takes Python longer than the question did.
MOST_TERMS: Final = 1 << 16
MOST_WINDOWS: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class Term:
    """One product that enters an element: what it is called, and its value."""

    text: str
    worth: str
    value: float


# A part of an index for the output and each operand, in this order, and what the product is multiplied by.
Parts = tuple[Shape, ...]
Link = tuple[Parts, float]
Axis = tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """A sum of products of operands: every choice of one link an axis is a term."""

    operands: tuple[str, ...]
    axes: tuple[Axis, ...]

    def terms(self, role: int, index: Shape) -> Iterator[tuple[tuple[Shape, ...], float]]:
        """Indices by role, and the weight, of all terms in which a role (0 is the output) has an index."""
        chosen = []
        place = 0
        for axis in self.axes:
            size = len(axis[0][0][role]) if axis else 0
            part = index[place : place + size]
            place += size
            chosen.append([link for link in axis if link[0][role] == part])
        if math.prod(map(len, chosen)) > MOST_TERMS:
            return
        for links in product(*chosen):
            # Without axes, every role has the one index of a scalar.
            roles = range(len(self.operands) + 1)
            yield (
                tuple(tuple(i for link in links for i in link[0][role]) for role in roles),
                math.prod(link[1] for link in links),
            )


def terms_of(job: Job, check: str, name: str, index: Shape) -> tuple[Term, ...]:
    """The terms of one element of an output or a gradient; none where the operator is no sum of products."""
    forms = _forms(job)
    arrays = {operand: to_float64(tensor) for operand, tensor in job.operands.items()}
    found = []
    for form in forms:
        roles = dict(enumerate(form.operands, start=1))
        if check == "outputs":
            fixed, names = 0, roles  # of the products, by role
        elif name in form.operands:
            fixed = form.operands.index(name) + 1
            names = {0: "cotangent", **{role: operand for role, operand in roles.items() if role != fixed}}
        else:
            continue
        for indices, weight in form.terms(fixed, index):
            factors = [
                (f"{operand}{list(indices[role])}", _number(job, arrays, operand, indices[role]))
                for role, operand in names.items()
            ]
            found.append(_term(factors, weight))
    return tuple(found)


def _number(job: Job, arrays: Mapping[str, Float64], name: str, index: Shape) -> float:
    if name == "cotangent":
        return float(to_float64(job.cotangents["output"])[index])
    return float(arrays[name][index])


def _term(factors: Sequence[tuple[str, float]], weight: float) -> Term:
    scaled = [*factors, *([(f"{weight:.6g}", weight)] if weight != 1 else [])]
    value = math.prod(number for _, number in scaled)
    worth = " * ".join(f"{number:.6g}" for _, number in scaled)
    return Term(
        text=" * ".join(label for label, _ in scaled),
        worth=f"{worth} = {value:.6g}" if len(scaled) > 1 else worth,
        value=value,
    )


# What is told -------------------------------------------------------------------------------------------------------


def explain(job: Job, comparison: Comparison) -> tuple[str, ...]:
    """The terms of a comparison's worst element in a few lines, and the one that tells expected from got."""
    c = comparison
    if not (math.isfinite(c.expected) and math.isfinite(c.got)) or c.expected_shape != c.got_shape:
        return ()
    if len(c.worst_index) != len(c.expected_shape):  # nothing was compared: the array is empty
        return ()
    with suppress(ImpossibleShape):  # the contract is narrower than the reference at some edges
        return _explain(job, c)
    return ()


def _explain(job: Job, c: Comparison) -> tuple[str, ...]:
    title = f"{'' if c.check == 'outputs' else 'gradient of '}{c.name}{list(c.worst_index)} on {c.data} data"
    if c.check == "outputs" and any(fnmatchcase(job.operator, glob) for glob in ("max_pool?d", "global_max_pool?d")):
        return _explain_maximum(job, c, title)
    terms = terms_of(job, c.check, c.name, c.worst_index)
    if not terms:
        return ()
    by_size = sorted((term for term in terms if term.value), key=lambda term: -abs(term.value))
    lines = [f"{title} sums {len(terms)} terms, {len(by_size)} of them not 0:"]
    lines += [f"  {term.text} = {term.worth}" for term in by_size[:MOST_SHOWN]]
    rest = by_size[MOST_SHOWN:]
    if rest:
        lines.append(f"  and {len(rest)} smaller, together {math.fsum(term.value for term in rest):.6g}")
    lines.append(f"  sum {math.fsum(term.value for term in terms):.9g}, expected {c.expected:.9g}, got {c.got:.9g}")
    # Within the bound a small term may be missing or not: nobody can tell.
    told = "" if c.within else _told_apart(by_size, c)
    return (*lines, *([told] if told else []))


def _told_apart(terms: Sequence[Term], c: Comparison) -> str:
    """The term that is missing, counted twice or of the wrong sign, within the element's bound."""
    if not terms:
        return ""
    values = np.array([term.value for term in terms])
    for times, words in (
        (-1, "the sum without {}"),
        (1, "the sum with {} counted twice"),
        (-2, "the sum with the sign of {} turned"),
    ):
        low, high = interval(c.expected + times * values, np.full(values.shape, c.bound), STORED[c.expected_format])
        fitting = np.flatnonzero((low <= c.got) & (c.got <= high))
        if fitting.size:
            nearest = fitting[np.argmin(np.abs(c.expected + times * values[fitting] - c.got))]
            others = f" (or {fitting.size - 1} more that fit)" if fitting.size > 1 else ""
            return f"got is {words.format(terms[nearest].text + others)}"
    return ""


def _explain_maximum(job: Job, c: Comparison, title: str) -> tuple[str, ...]:
    """The candidates of a maximum, and which of them came back instead."""
    x = to_float64(job.operands["x"])
    window = {index: float(x[index]) for index in _window(job, c.worst_index)}
    if not window or any(map(math.isnan, window.values())):
        return ()
    ordered = sorted(window.items(), key=lambda item: -item[1])
    shown = ", ".join(f"x{list(index)} = {value:.6g}" for index, value in ordered[:MOST_SHOWN])
    more = f" and {len(ordered) - MOST_SHOWN} smaller" if len(ordered) > MOST_SHOWN else ""
    lines = [f"{title} is the largest of {len(ordered)}: {shown}{more}; got {c.got:.9g}"]
    lines += [f"got is x{list(index)}" for index, value in ordered if value == c.got][:1]
    return tuple(lines)


# Operators as links -------------------------------------------------------------------------------------------------


def _forms(job: Job) -> tuple[Form, ...]:
    for globs, forms in FORMS.items():
        if any(fnmatchcase(job.operator, glob) for glob in globs):
            return forms(job)
    return ()


def _along(links: Iterable[Parts]) -> Axis:
    return tuple((parts, 1.0) for parts in links)


def _convolution(job: Job) -> tuple[Form, ...]:
    x = job.operands["x"].shape
    batch: list[Parts] = [((n,), (n,), ()) for n in range(x[0])]
    spatial: list[list[Parts]] = [[((o,), (i,), (t,)) for o, t, i in axis] for axis in _windows(job)]
    axes = (batch, *spatial, *_channels(job))
    return (Form(("x", "w"), tuple(map(_along, axes))), *_bias(job))


def _channels(job: Job) -> list[list[Parts]]:
    """Channels as two axes of the kernel's; in groups they depend on each other, and are one."""
    (*_, of_x), w, groups = job.operands["x"].shape, job.operands["w"].shape, job.attributes.groups
    transposed = "transpose" in job.operator
    inside, outside = of_x // groups, w[-2] if transposed else w[-1] // groups
    if groups > 1:
        every = product(range(groups), range(inside), range(outside))
        indices = [(a, b, g * inside + a, g * outside + b) for g, a, b in every]
        return [[((y,), (x,), (b, x) if transposed else (a, y)) for a, b, x, y in indices]]
    in_x: list[Parts] = [((), (a,), (a,)) for a in range(inside)]
    in_y: list[Parts] = [((b,), (), (b,)) for b in range(outside)]
    return [in_y, in_x] if transposed else [in_x, in_y]


def _bias(job: Job) -> tuple[Form, ...]:
    """A bias joins every element of its channel."""
    if "b" not in job.operands:
        return ()
    sizes = _output_shape(job)
    return (Form(("b",), _spread(sizes, job.operands["b"].shape)),)


def _spread(sizes: Shape, own: Shape) -> tuple[Axis, ...]:
    """One operand that is broadcast to the output by NumPy's rules."""
    return tuple(
        _along([((i,), _own(i, n, place, len(sizes), own)) for i in range(n)]) for place, n in enumerate(sizes)
    )


def _own(i: int, n: int, place: int, axes: int, own: Shape) -> Shape:
    """The part of a broadcast operand's index that goes with i."""
    at = place - (axes - len(own))
    return () if at < 0 else (i if own[at] == n else 0,)


def _dense(job: Job) -> tuple[Form, ...]:
    x, w = job.operands["x"].shape, job.operands["w"].shape
    leading: list[list[Parts]] = [[((n,), (n,), ()) for n in range(size)] for size in x[:-1]]
    summed: list[Parts] = [((), (a,), (a,)) for a in range(w[0])]
    kept: list[Parts] = [((b,), (), (b,)) for b in range(w[1])]
    return (Form(("x", "w"), tuple(map(_along, (*leading, summed, kept)))), *_bias(job))


def _matmul(job: Job) -> tuple[Form, ...]:
    x, y = job.operands["x"].shape, job.operands["y"].shape
    leading = _output_shape(job)[:-2]
    batches: list[list[Parts]] = [
        [((i,), _own(i, n, place, len(leading), x[:-2]), _own(i, n, place, len(leading), y[:-2])) for i in range(n)]
        for place, n in enumerate(leading)
    ]
    rows: list[Parts] = [((m,), (m,), ()) for m in range(x[-2])]
    columns: list[Parts] = [((n,), (), (n,)) for n in range(y[-1])]
    summed: list[Parts] = [((), (k,), (k,)) for k in range(x[-1])]
    return (Form(("x", "y"), tuple(map(_along, (*batches, rows, summed, columns)))),)


def _sum(job: Job) -> tuple[Form, ...]:
    sizes = _output_shape(job)
    return tuple(Form((name,), _spread(sizes, tensor.shape)) for name, tensor in job.operands.items())


def _multiply(job: Job) -> tuple[Form, ...]:
    sizes = _output_shape(job)
    x, y = (_spread(sizes, job.operands[name].shape) for name in ("x", "y"))
    axes = [
        [(one[0][0], one[0][1], other[0][1]) for one, other in zip(along_x, along_y, strict=True)]
        for along_x, along_y in zip(x, y, strict=True)
    ]
    return (Form(("x", "y"), tuple(map(_along, axes))),)


def _mean(job: Job) -> tuple[Form, ...]:
    x = job.operands["x"].shape
    means = {axis % len(x) for axis in job.attributes.axes} if job.operator == "mean" else {1, 2}
    kept: Shape = (0,) if getattr(job.attributes, "keepdims", False) else ()
    return (
        Form(
            ("x",),
            tuple(
                tuple(((kept if place in means else (i,), (i,)), 1 / n if place in means else 1.0) for i in range(n))
                for place, n in enumerate(x)
            ),
        ),
    )


def _average_pool(job: Job) -> tuple[Form, ...]:
    x, a = job.operands["x"].shape, job.attributes
    sizes, kernel = sizes_of(job), kernel_of(job)
    pads = resolve_pads(a.padding, sizes, kernel, a.stride, (1,) * len(kernel))
    axes = []
    for links, n, k, s, (low, high) in zip(_windows(job), sizes, kernel, a.stride, pads, strict=True):
        start, end = (-low, n + high) if a.count_padding else (0, n)
        counts = {o: sum(start <= o * s - low + t < end for t in range(k)) for o, _, _ in links}
        axes.append(tuple((((o,), (i,)), 1 / counts[o]) for o, _, i in links))
    first, last = (_along([((i,), (i,)) for i in range(n)]) for n in (x[0], x[-1]))
    return (Form(("x",), (first, *axes, last)),)


def _max_pool(job: Job) -> tuple[Form, ...]:
    """The gradient: every window hands its cotangent to its first maximum. As a form it has one axis, of images."""
    x = to_float64(job.operands["x"])
    links = []
    if x.size and not np.isnan(x).any() and math.prod(_output_shape(job)) <= MOST_WINDOWS:
        for index in np.ndindex(*_output_shape(job)):
            window = _window(job, index)
            links.append(((index, max(window, key=lambda at: float(x[at]))), 1.0))  # the first of equals
    return (Form(("x",), (tuple(links),)),)


def _window(job: Job, index: Shape) -> list[Shape]:
    """What a maximum looks at, in row-major order."""
    if job.operator == "global_max_pool2d":
        rows, columns = (range(n) for n in job.operands["x"].shape[1:3])
        return [(index[0], row, column, index[1]) for row, column in product(rows, columns)]
    along = [[i for o, _, i in axis if o == place] for axis, place in zip(_windows(job), index[1:-1], strict=True)]
    return [(index[0], *at, index[-1]) for at in product(*along)]


def _windows(job: Job) -> list[list[tuple[int, int, int]]]:
    """By spatial axis: which output, tap and input belong together; taps in the padding belong to nothing."""
    a, sizes, kernel = job.attributes, sizes_of(job), kernel_of(job)
    dilation = getattr(a, "dilation", (1,) * len(kernel))
    if "transpose" in job.operator:
        a = settled(a, sizes, kernel)
        starts, outputs = transposed_crop(a.padding, sizes, kernel, a.stride, dilation, a.output_padding)
        circular = a.pad_mode == "circular"
        landed = [
            ([(i * s + t * d - start, t, i) for i, t in product(range(n), range(k))], m)
            for n, k, s, d, start, m in zip(sizes, kernel, a.stride, dilation, starts, outputs, strict=True)
        ]
        return [[(o % m, t, i) for o, t, i in axis if circular or 0 <= o < m] for axis, m in landed]
    pads = resolve_pads(a.padding, sizes, kernel, a.stride, dilation)
    return [
        [(o, t, o * s + t * d - low) for o, t in product(range(m), range(k)) if 0 <= o * s + t * d - low < n]
        for n, k, s, d, (low, _), m in zip(
            sizes, kernel, a.stride, dilation, pads, _output_shape(job)[1:-1], strict=True
        )
    ]


def _output_shape(job: Job) -> Shape:
    shapes = OPERATORS[job.operator].shapes(job.attributes, {n: tensor.shape for n, tensor in job.operands.items()})
    return shapes["output"]


FORMS: Final[Mapping[tuple[str, ...], Callable[[Job], tuple[Form, ...]]]] = {
    ("conv?d", "conv?d_transpose"): _convolution,
    ("dense",): _dense,
    ("matmul",): _matmul,
    ("add", "bias_add"): _sum,
    ("multiply",): _multiply,
    ("mean", "global_average_pool2d"): _mean,
    ("average_pool?d",): _average_pool,
    ("max_pool?d", "global_max_pool2d"): _max_pool,
}
