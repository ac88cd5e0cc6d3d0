"""What a result that differs is instead: the variants that agree with it, or where it starts to differ.

A variant agrees when every output and gradient of every data set lies within the variant's own bounds. Where no
single one does, compositions of two are tried for as long as the time allows.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, Final

import numpy as np

from conformance.case.job import Job, Outputs, Tensor
from conformance.case.model import Check
from conformance.case.operators import INPUT, OPERATORS, Chain, own_of
from conformance.verdict import oracle
from conformance.verdict.compare import compare, outside
from conformance.verdict.model import Comparison, Expectation
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.verdict.sampling import compare_samples
from conformance.verdict.terms import explain
from conformance.verdict.variants import Variant, evaluate, variants_of
from conformance.verdict.variants.reading import Array, dilation_of, kernel_of, pads_of, sizes_of

# A differing result may take this long to be understood; compositions end the search.
SECONDS: Final = 1.0
# Names that are told; more only say that the case tells little apart.
MOST_NAMES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a difference looks like.

    Attributes:
        agrees_with: the variants that explain all of it; a composition is "one, and other".
        location: where it starts to differ, and what the differing elements have in common.
        terms: which products entered the worst element of the first array that differs, in a few lines.
    """

    agrees_with: tuple[str, ...] = ()
    location: str = ""
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Differing:
    """One data set of a result that differs: what was asked, what came back, what should have."""

    job: Job
    answer: Outputs
    expected: Expectations


def diagnose(differing: Sequence[Differing], accumulators: Accumulators, *, seconds: float = SECONDS) -> Diagnosis:
    """Explains a result by its data sets; a chain by its layers, each on what it was really given.

    The seconds are this thread's own work: what is named does not depend on how busy the machine is.
    """
    deadline = time.thread_time() + seconds
    if not differing:
        return Diagnosis()
    if not isinstance(differing[0].job.attributes, Chain):
        return _diagnose(differing, accumulators, deadline)
    names: list[str] = []
    locations: list[str] = []
    terms: list[tuple[str, ...]] = []
    for place, layer in enumerate(differing[0].job.attributes.layers):
        own = [part for whole in differing for part in _layer(whole, place)]
        found = _diagnose(own, accumulators, deadline)
        names += [f"{layer.name}: {name}" for name in found.agrees_with]
        if found.location:
            locations.append(f"layer {layer.name}: {found.location}")
            terms.append(found.terms)
    return Diagnosis(agrees_with=tuple(names[:MOST_NAMES]), location="; ".join(locations[:1]), terms=(*terms, ())[0])


def _diagnose(differing: Sequence[Differing], accumulators: Accumulators, deadline: float) -> Diagnosis:
    location = locate(differing)
    if not location:
        return Diagnosis()
    names = _Search(differing, accumulators, deadline).names()
    found = list(_differences(differing))
    if not found:  # a sample has no element to look at
        return Diagnosis(agrees_with=names, location=location)
    # Terms of wide integers look alike; those of the other data sets are told apart.
    one, check, name = next((each for each in found if each[0].job.data != "wide"), found[0])
    worst = compare(name, check, one.job.data, _got(one, check)[name], _expected(one, check)[name], one.job.format)
    return Diagnosis(agrees_with=names, location=location, terms=explain(one.job, worst))


def layers_of(whole: Differing) -> Iterator[Differing]:
    """The layers of a chain as questions of their own; of anything else, itself."""
    if not isinstance(whole.job.attributes, Chain):
        yield whole
        return
    for place in range(len(whole.job.attributes.layers)):
        yield from _layer(whole, place)


def _layer(whole: Differing, place: int) -> Iterator[Differing]:
    """One layer of a chain as a question of its own; nothing where an array is missing or of another shape."""
    chain: Chain = whole.job.attributes
    layer, takes = tuple(chain.wired())[place]
    given = {
        name: whole.job.operands[INPUT] if source == INPUT else whole.answer.outputs.get(source)
        for name, source in takes.items()
    }
    known = {name: tensor for name, tensor in given.items() if tensor is not None}
    output, expected = whole.answer.outputs.get(layer.name), whole.expected.outputs.get(layer.name)
    if len(known) < len(given) or output is None or expected is None:
        return
    own = own_of(layer, whole.job.operands)
    cotangent = whole.job.cotangents.get(layer.name) or whole.answer.gradients.get(layer.name)
    # The gradient of what others take as well is a sum, in which this layer's share cannot be seen.
    sources = Counter(source for _, others in chain.wired() for source in others.values())
    titles = {name: source for name, source in takes.items() if sources[source] == 1}
    titles |= {name: f"{layer.name}/{name}" for name in own}
    state = {name: f"{layer.name}/{name}" for name in OPERATORS[layer.operator].state}
    yield Differing(
        job=replace(
            whole.job,
            operator=layer.operator,
            attributes=layer.attributes,
            operands={**known, **own},
            cotangents={"output": cotangent} if isinstance(cotangent, Tensor) else {},
        ),
        answer=Outputs(
            outputs={"output": output}
            | {name: o for name, title in state.items() if (o := whole.answer.outputs.get(title))},
            gradients={name: g for name, title in titles.items() if (g := whole.answer.gradients.get(title))},
        ),
        expected=Expectations(
            outputs={"output": expected}
            | {name: e for name, title in state.items() if (e := whole.expected.outputs.get(title))},
            gradients={name: e for name, title in titles.items() if (e := whole.expected.gradients.get(title))},
        ),
    )


class _Search:
    """Variants against what came back."""

    def __init__(self, differing: Sequence[Differing], accumulators: Accumulators, deadline: float) -> None:
        # The smallest first: it refutes as well as the others, and sooner.
        self._differing = sorted(differing, key=lambda one: sum(t.data.size for t in one.job.operands.values()))
        self._bare = [replace(one, job=replace(one.job, cotangents={})) for one in self._differing]
        self._accumulators = accumulators
        self._deadline = deadline
        # Many readings leave the job as it is, and change what is expected of it.
        self._own = {id(one.job) for one in (*self._differing, *self._bare)}
        self._known: dict[tuple[int, bool], Expectations | MustRefuse] = {}

    def names(self) -> tuple[str, ...]:
        """Single variants, or the first composition of two that fits."""
        job = self._differing[0].job
        variants = variants_of(job.operator, job.format)
        forward = [variant for variant in variants if variant.touches != "gradients"]
        backward = [variant for variant in variants if variant.touches == "gradients"]
        # Outputs alone take half the time, and refute most.
        likely = [(variant,) for variant in forward if self._agrees((variant,), self._bare)]
        right = all(_fits(one.expected, one, gradients=False) for one in self._differing)
        candidates = [*likely, *(((variant,) for variant in backward) if right else ())]
        fitting = [variants[0].name for variants in candidates if self._agrees(variants, self._differing)]
        if fitting:
            return tuple(fitting[:MOST_NAMES])
        pairs: list[tuple[Variant, ...]] = [(*one, other) for one in likely for other in backward]
        pairs += combinations(backward, 2) if right else []
        # A pair of forward readings: both orders are tried, as a flip and a transposition do not commute.
        pairs += [] if right else [pair for two in combinations(forward, 2) for pair in (two, two[::-1])]
        for pair in pairs:
            if self._late:
                break
            if self._agrees(pair, self._bare, gradients=False) and self._agrees(pair, self._differing):
                return (", and ".join(variant.name for variant in pair),)
        return ()

    @property
    def _late(self) -> bool:
        return time.thread_time() > self._deadline

    def _agrees(
        self, variants: tuple[Variant, ...], differing: Sequence[Differing], *, gradients: bool = True
    ) -> bool:
        """Whether readings explain all data sets; one that reads none of them in another way explains nothing."""
        read = False
        for one in differing:
            if self._late:
                return False
            found = self._evaluated(variants, one.job)
            if found is not None:
                read = True
            elif len(variants) > 1 and not gradients:
                # A gradient's variant has nothing to change without cotangents.
                found = self._evaluated(variants[:1], one.job)
            if isinstance(found, MustRefuse) or not _fits(
                found or one.expected, one, gradients=bool(one.job.cotangents)
            ):
                return False
        return read or not gradients

    def _evaluated(self, variants: tuple[Variant, ...], job: Job) -> Expectations | MustRefuse | None:
        return evaluate(variants, job, self._ask)

    def _ask(self, job: Job, exact: bool) -> Expectations | MustRefuse:
        key = id(job), exact
        if key in self._known:
            return self._known[key]
        found = oracle.expect(job, self._accumulators, exact=exact)
        if id(job) in self._own:
            self._known[key] = found
        return found


def _fits(found: Expectations, one: Differing, *, gradients: bool) -> bool:
    """Whether everything that came back lies within what is expected."""
    checks: list[tuple[Mapping[str, Expectation], Mapping[str, Any]]] = [(found.outputs, one.answer.outputs)]
    if gradients:
        given = {name: got for name, got in one.answer.gradients.items() if isinstance(got, Tensor)}
        if not given.keys() <= found.gradients.keys():
            return False
        checks.append((found.gradients, given))
    for expected, answered in checks:
        for name, expectation in expected.items():
            got = answered.get(name)
            if got is None:
                if expected is found.outputs:
                    return False
            elif not compare(name, "", one.job.data, got, expectation, one.job.format).within:
                return False
    return all(comparison.within for comparison in _samples(found, one))


def _samples(found: Expectations, one: Differing) -> list[Comparison]:
    """What came back against what it may be a sample of."""
    return compare_samples("outputs", one.job.data, one.answer.outputs, found.samples, one.job.format)


# Where --------------------------------------------------------------------------------------------------------------


def locate(differing: Sequence[Differing]) -> str:
    """Where the first array that differs does, in one line; empty if none does."""
    for one, check, name in _differences(differing):
        expectation, got = _expected(one, check)[name], _got(one, check)[name]
        title = f"{'gradient of ' if check == 'gradients' else ''}{name} on {one.job.data} data"
        if got.shape != expectation.value.shape:
            return f"{title} has shape {got.shape} for {expectation.value.shape}"
        where = outside(got, expectation, one.job.format)
        if where is not None:
            return f"{title}: {_described(where, name, check, one.job)}"
    for one in differing:
        for comparison in _samples(one.expected, one):
            if not comparison.within:
                return f"{comparison.name} on {one.job.data} data: {comparison.detail or comparison.reason}"
    return ""


def _differences(differing: Sequence[Differing]) -> Iterator[tuple[Differing, Check, str]]:
    """The arrays that differ in shape or in an element, by data set, check and name."""
    checks: tuple[Check, ...] = ("outputs", "gradients")
    for one, check in product(differing, checks):
        got = _got(one, check)
        for name, expectation in _expected(one, check).items():
            if name not in got:
                continue
            where = outside(got[name], expectation, one.job.format)
            if got[name].shape != expectation.value.shape or (where is not None and where.any()):
                yield one, check, name


def _expected(one: Differing, check: Check) -> Mapping[str, Expectation]:
    return one.expected.outputs if check == "outputs" else one.expected.gradients


def _got(one: Differing, check: Check) -> Mapping[str, Tensor]:
    if check == "outputs":
        return one.answer.outputs
    return {name: got for name, got in one.answer.gradients.items() if isinstance(got, Tensor)}


def _described(where: Array, name: str, check: Check, job: Job) -> str:
    """First index and common traits of the elements that differ."""
    places = np.argwhere(where)
    first = [int(i) for i in places[0]]
    if where.all():
        return f"every element differs, from {first} on"
    traits = []
    kernel = check == "gradients" and name == "w"
    spatial = OPERATORS[job.operator].rank
    for axis, title in _axes(where.ndim, spatial, kernel=kernel).items():
        seen = np.unique(places[:, axis])
        if where.shape[axis] > 1 and len(seen) == 1:
            traits.append(f"{title} {seen[0]} alone")
        elif title == "channel" and (group := _group(seen, where.shape[axis], job)) is not None:
            traits.append(f"group {group} alone")
    if spatial and not kernel and where.ndim == spatial + 2:
        border = _border(where.shape[1:-1], name, check, job)
        differs = where.any(axis=(0, -1))
        if border.any() and not border.all():
            if not (differs & ~border).any():
                traits.append("border alone")
            elif check == "outputs" and not (differs & border).any():
                traits.append("interior alone")
    count = f"{len(places)} of {where.size} elements differ, from {first} on"
    return ", ".join([count, *traits])


def _axes(ndim: int, spatial: int, *, kernel: bool) -> dict[int, str]:
    """What the axes that may stand alone are called."""
    if kernel:
        return {**{axis: f"tap of axis {axis}" for axis in range(spatial)}, ndim - 2: "in", ndim - 1: "out"}
    if ndim < 2:
        return {}
    return {0: "image" if spatial else "row", **({ndim - 1: "channel"} if spatial else {})}


def _group(seen: Array, channels: int, job: Job) -> int | None:
    groups = getattr(job.attributes, "groups", 1)
    if groups == 1 or channels % groups:
        return None
    own = {int(channel) // (channels // groups) for channel in seen}
    return own.pop() if len(own) == 1 else None


def _border(shape: Sequence[int], name: str, check: Check, job: Job) -> Array:
    """What depends on padding: outputs whose windows reach beyond the input; elsewhere the outermost elements."""
    border: Array = np.zeros(tuple(shape), np.bool_)
    windows = check == "outputs" and "transpose" not in job.operator
    geometry = (
        zip(sizes_of(job), kernel_of(job), job.attributes.stride, dilation_of(job), pads_of(job), strict=True)
        if windows
        else None
    )
    for axis, size in enumerate(shape):
        at = np.arange(size)
        edge = (at == 0) | (at == size - 1)
        if geometry is not None:
            n, k, s, d, (low, _) = next(geometry)
            edge = (at * s < low) | (at * s - low + (k - 1) * d >= n)
        border = border | edge.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return border
