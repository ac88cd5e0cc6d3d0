"""`-k` expressions, as pytest has them; alone, so that listing cases needs nothing else."""

import re
from collections.abc import Callable, Iterable


def compile_keyword(expression: str) -> Callable[[str], bool]:
    """Reads a `-k` expression with pytest's meaning: a word matches any part of a name, whatever its case.

    The grammar, from the loosest: `a or b`, `a and b`, `not a`, `(a)`, a word.

    Raises:
        ValueError: if it cannot be read.
    """
    tokens = re.findall(r"[()]|[^\s()]+", expression)[::-1]

    def fail(what: str) -> ValueError:
        return ValueError(f"-k {expression!r}: {what}; expected words joined by and, or, not and parentheses")

    def either() -> Callable[[str], bool]:
        left = both()
        while tokens and tokens[-1] == "or":
            tokens.pop()
            left = _joined(any, left, both())
        return left

    def both() -> Callable[[str], bool]:
        left = one()
        while tokens and tokens[-1] == "and":
            tokens.pop()
            left = _joined(all, left, one())
        return left

    def one() -> Callable[[str], bool]:
        if not tokens:
            raise fail("it ends where a word is due")
        token = tokens.pop()
        if token == "not":
            inner = one()
            return lambda name: not inner(name)
        if token == "(":
            inner = either()
            if not tokens or tokens.pop() != ")":
                raise fail("a parenthesis is not closed")
            return inner
        if token in (")", "and", "or"):
            raise fail(f"{token!r} stands where a word is due")
        return lambda name: token.lower() in name.lower()

    if not tokens:
        return lambda name: True
    matches = either()
    if tokens:
        raise fail(f"{tokens[-1]!r} stands where `and` or `or` is due")
    return matches


def _joined(
    how: Callable[[Iterable[bool]], bool], left: Callable[[str], bool], right: Callable[[str], bool]
) -> Callable[[str], bool]:
    return lambda name: how(matches(name) for matches in (left, right))
