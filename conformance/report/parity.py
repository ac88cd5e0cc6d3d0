"""What two models have in common, as lines for a terminal."""

from collections.abc import Iterator
from typing import Final

from conformance.run.parity import Finding, LayerParity, Parity

# Layers that are told in full; the first is the one to mend.
SHOWN: Final = 5
# Lines of what nobody judged.
LISTED: Final = 12


def parity_text(parity: Parity) -> str:
    """The answer: the first guilty layer, its reading and the line to write; then the rest."""
    return "\n".join(_lines(parity)) + "\n"


def _lines(parity: Parity) -> Iterator[str]:
    yield f"{parity.first} -> {parity.second}"
    yield f"{len(parity.layers)} pairs of layers, {parity.carried} parameters carried over"
    yield from _listed("has no counterpart", parity.not_carried)
    yield from _listed(f"only in {parity.first}", parity.only_first)
    yield from _listed(f"only in {parity.second}", parity.only_second)
    yield from _listed(f"not judged in {parity.first}", parity.unrecognised_first)
    yield from _listed(f"not judged in {parity.second}", parity.unrecognised_second)
    yield from parity.nonfinite
    for failure in parity.failures:
        yield f"broke off: {failure}"
    guilty = parity.guilty
    if guilty:
        yield ""
    for layer in guilty[:SHOWN]:
        yield from _layer(layer)
    if len(guilty) > SHOWN:
        yield f"{len(guilty) - SHOWN} more pairs differ: {', '.join(layer.first for layer in guilty[SHOWN:])}"
    yield ""
    for end in parity.ends:
        what = "from end to end" if len(parity.ends) == 1 else f"from end to end, output {end.output}"
        if end.shapes[0] != end.shapes[1]:
            yield f"{what}: shapes {end.shapes[0]} and {end.shapes[1]}"
        else:
            yield (
                f"{what}: off by {end.error:.3g}, where rounding explains about {end.radius:.3g} "
                f"(ratio {end.error / end.radius:.3g})"
            )
    yield _conclusion(parity)


def _conclusion(parity: Parity) -> str:
    if parity.guilty:
        first = parity.guilty[0]
        return f"{len(parity.guilty)} of {len(parity.layers)} pairs differ, the first is {first.first}"
    if parity.agrees:
        return f"agree, layer by layer: {len(parity.layers)} pairs, forwards and backwards"
    if not parity.layers:
        return "no layer has a partner"
    return "every pair agrees, but the models do not: look at what has no partner, or is not judged"


def _layer(layer: LayerParity) -> Iterator[str]:
    for finding, whose in (
        (layer.own_first, layer.first),
        (layer.own_second, layer.second),
    ):
        if finding is not None:
            yield f"{whose}: is not what its own framework says it is: {_reading(finding)}"
            yield from _detail(finding)
    if layer.ported is not None:
        yield f"{layer.first}: {_ported(layer.ported)}{_remedy(layer.ported)}"
        yield f"    from  {layer.first}: {layer.native_first}"
        yield f"    to    {layer.second}: {layer.native_second}"
        for name, one, two in layer.ported.otherwise:
            yield f"    {name}: {one} became {two}"
        yield from _detail(layer.ported)


def _reading(finding: Finding) -> str:
    if not finding.agrees_with:
        return "no known reading explains it"
    return f'agrees with "{finding.agrees_with[0]}"'


def _ported(finding: Finding) -> str:
    """The reading of a layer that does what it says; what it says is a reading, too, where none has a name."""
    if not finding.agrees_with and finding.otherwise:
        return f"differs in {' and '.join(name for name, _, _ in finding.otherwise)}"
    return _reading(finding)


def _remedy(finding: Finding) -> str:
    return f"; write {finding.write}" if finding.write else ""


def _detail(finding: Finding) -> Iterator[str]:
    if finding.verdict.detail:
        yield f"    {finding.verdict.outcome}: {finding.verdict.detail}"
    if finding.location and not finding.agrees_with and not finding.otherwise:
        yield f"    {finding.location}"


def _listed(title: str, lines: tuple[str, ...]) -> Iterator[str]:
    if lines:
        yield f"{title}:"
        yield from (f"    {line}" for line in lines[:LISTED])
        if len(lines) > LISTED:
            yield f"    {len(lines) - LISTED} more"
