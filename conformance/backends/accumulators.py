"""How an adapter writes down in which format its framework sums: an array, and the operators where that is float32.

A table is a claim that runs hold the framework to: what it names must come out as if it were rounded once from a sum
in float32, on integers exactly. What it does not name may be summed in the storage format.
"""

from collections.abc import Iterator, Mapping, Sequence

Rows = tuple[tuple[str, str, str, str], ...]
Arrays = Mapping[str, Sequence[str]]


def in_float32(formats: Sequence[str], arrays: Arrays) -> Rows:
    """The rows of `Description.accumulators` that say so.

    Args:
        formats: the storage formats of which it is true.
        arrays: operators, or globs of them, by `outputs`, `gradients` or one array of them, such as `gradients/b`.
    """

    def rows() -> Iterator[tuple[str, str, str, str]]:
        for array, operators in arrays.items():
            for operator in operators:
                for storage in formats:
                    yield operator, storage, array, "float32"

    return tuple(rows())
