"""Student's t distribution for whole degrees of freedom, by its finite series (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4).

Exact to about 1e-14 in the probability, which is far more than a decision needs; a library for it alone would be fifty megabytes.
"""

import math

_T_MAX = 1e9
"""No quantile that is asked for lies beyond it: with one degree of freedom it leaves 6e-10 in both tails."""


def two_tails(t: float, freedom: int) -> float:
    """The chance of a value beyond -|t| and |t|. :param freedom: degrees of freedom, at least 1."""
    if freedom < 1:
        raise ValueError("at least one degree of freedom")
    if math.isinf(t):
        return 0.0
    angle = math.atan(abs(t) / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 or not odd else 0.0
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return min(1.0, max(0.0, 1.0 - within))


def quantile(tails: float, freedom: int) -> float:
    """The t with `tails` (0 < tails <= 1) in both tails together."""
    if not 0 < tails <= 1:
        raise ValueError("a probability above 0")
    low, high = 0.0, 1.0
    while two_tails(high, freedom) > tails and high < _T_MAX:
        low, high = high, high * 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if two_tails(middle, freedom) > tails else (low, middle)
    return high
