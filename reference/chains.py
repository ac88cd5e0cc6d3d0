"""Running error analysis: from roundings counted term by term to the one bound of an array.

Where a formula is a sum of terms t_k and term k passes through at most n_k roundings (an elementary function whose
relative error is at most CF u counts as CF of them), its error is at most the sum of gamma(n_k, u) |t_k| (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.3). As gamma(n, u) / n grows with n,

    sum of gamma(n_k, u) |t_k|  <=  gamma(N, u) * (sum of n_k |t_k|) / N        for every N >= max n_k,

which is the right-hand side that a `Magnitude` has. The n_k need not be whole: 1 + gamma(n, u) = 1 / (1 - n u), so
that (1 + gamma(a, u)) (1 + gamma(b, u)) <= 1 + gamma(a + b, u) and exp(a u) <= 1 + gamma(a, u) for all real a, b >=
0.
"""

import numpy as np

from conformance.reference.magnitude import Array, Magnitude

Chained = tuple[Array | float, Array]
"""A number of roundings and the absolute value of the term that passes through them, broadcastable to each other."""

# The roundings that a correctly computed elementary function stands for, in units of u (numerics, "Other operators"):
# what the mathematical libraries of the frameworks stay within, vectorised ones included.
EXPONENTIAL = 4.0
LOGARITHM = 8.0
SATURATING = 16.0
"""tanh and sigmoid, from rational approximations or from exponentials."""
ROOT = 2.0
"""Square root, and division as a product with the reciprocal: two correctly rounded steps."""


@np.errstate(all="ignore")
def chained(*terms: Chained, underflow: Array | float, longest: Array | float = 1.0) -> Magnitude:
    """Returns the magnitude of a sum of terms, each with its own number of roundings.

    Args:
        terms: pairs of a number of roundings n_k and |t_k|.
        underflow: how many smallest normal numbers the flushed intermediate results may add up to.
        longest: a chain that passes through more roundings than any n_k alone, where first-order counts of one chain
            are spread over several pairs; it makes gamma cover their products.
    """
    length = np.asarray(longest, dtype=np.float64)
    if len(terms) == 1:
        ((roundings, size),) = terms
        if np.min(roundings, initial=np.inf) >= length.max(initial=0.0) and np.ndim(size) >= np.ndim(roundings):
            # n |t| / N with N = n.
            return Magnitude(
                terms=np.asarray(roundings, np.float64), absolute=size, underflow=np.asarray(underflow, np.float64)
            )
    weighted = np.zeros(())
    for roundings, size in terms:
        length = np.maximum(length, roundings)
        weighted = weighted + roundings * size
    return Magnitude(
        terms=length, absolute=np.asarray(weighted / length), underflow=np.asarray(underflow, dtype=np.float64)
    )
