"""What paired rounds can tell: the Hodges-Lehmann estimate with its exact signed-rank interval, and a bootstrap.

Rounds come in pairs, the unit is a server's restart. Log ratios make "twice as fast" and "half as fast" equally
far from equal.
"""
import math
import random
import statistics
from functools import lru_cache


def walsh_averages(values):
    """Means of all pairs, each value with itself included, sorted."""
    return sorted((values[i] + values[j]) / 2 for i in range(len(values)) for j in range(i, len(values)))


@lru_cache(maxsize=None)
def rank_sums(n):
    """How many of the 2^n assignments of signs to the ranks 1..n give each sum of positive ranks."""
    counts = [1]
    for rank in range(1, n + 1):
        longer = counts + [0] * rank
        for total, ways in enumerate(counts):
            longer[total + rank] += ways
        counts = longer
    return tuple(counts)


def signed_rank_interval(values, confidence=0.95):
    """(low, high) around the median of symmetric differences, exact; None when so few values cannot give one.

    The k smallest and the k largest Walsh averages are left out, k being the most that keeps the chance of missing
    the median within 1 - confidence. Six values are the fewest for 95 %.
    """
    n = len(values)
    # A sum of ranks <= k - 1 has half the error's probability on its side.
    allowed, below, k = (1 - confidence) / 2 * 2 ** n, 0, 0
    for ways in rank_sums(n):
        below += ways
        if below > allowed:
            break
        k += 1
    if k == 0:
        return None
    averages = walsh_averages(values)
    return averages[k - 1], averages[-k]


def hodges_lehmann(values):
    return statistics.median(walsh_averages(values))


def bootstrap_interval(values, of=statistics.median, confidence=0.95, resamples=4000, seed=1):
    """(low, high) of `of` over resampled values: for figures that have no pairs. The seed makes it repeatable."""
    r = random.Random(seed)
    found = sorted(of(r.choices(values, k=len(values))) for _ in range(resamples))
    at = lambda q: found[min(resamples - 1, int(q * resamples))]
    return at((1 - confidence) / 2), at((1 + confidence) / 2)


def ratio(pairs, confidence=0.95):
    """{ratio, low, high, n} of b to a over pairs (a, b) of positive figures; low and high None if undecidable."""
    logs = [math.log(b / a) for a, b in pairs]
    if not logs:
        return {"ratio": None, "low": None, "high": None, "n": 0}
    interval = signed_rank_interval(logs, confidence)
    low, high = map(math.exp, interval) if interval else (None, None)
    return {"ratio": math.exp(hodges_lehmann(logs)), "low": low, "high": high, "n": len(logs)}
