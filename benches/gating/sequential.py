"""Statistics of the paired gates: pure functions, no clock, no processes.

A restart of both servers gives one number, d: the median over its blocks of ln(new/old). The tests of a restart's
blocks against each other would call platform moods a difference, so the restart is the unit and its d the sample.

After 8, 16 and 24 restarts one looks at all d so far: the Hodges-Lehmann estimate, and an exact one-sided bound on
either side from the signed-rank distribution, each at ALPHA. 8 restarts are the fewest for which such a bound
exists at 0.4 %: it is then the smallest (largest) d itself.
"""
import itertools
import math
import statistics

from ringbench import statistic
from ringbench.statistic import hodges_lehmann as estimate, walsh_averages as walsh  # noqa: F401

LOOKS = (8, 16, 24)
ALPHA = 0.004
# Worse than this by the estimate, and surely worse than nothing: fails. Surely better than HARM: passes.
GROWTH = math.log(1.05)
HARM = math.log(1.10)
# Of all blocks; above it the machine is unfit for a verdict.
VOID_MAX = 0.5

PASS, FAIL, INCONCLUSIVE, UNFIT = "PASS", "FAIL", "INCONCLUSIVE", "UNFIT"


def signed_rank_cdf(n):
    """P(T <= t) for t = 0 … n(n+1)/2, T being the sum of the positive ranks of n values symmetric about 0."""
    return [so_far / 2 ** n for so_far in itertools.accumulate(statistic.rank_sums(n))]


def bounds(values, alpha=ALPHA):
    """(lower, upper): each holds with probability 1 - alpha. Infinite where so few values can bear none."""
    return statistic.signed_rank_interval(values, 1 - 2 * alpha) or (-math.inf, math.inf)


def look(values, alpha=ALPHA):
    """(verdict or None to go on, estimate, lower, upper) of all restarts so far."""
    middle = estimate(values)
    lower, upper = bounds(values, alpha)
    verdict = None
    if lower > 0 and middle > GROWTH:
        verdict = FAIL
    elif upper < HARM:
        verdict = PASS
    elif len(values) >= LOOKS[-1]:
        verdict = INCONCLUSIVE
    return verdict, middle, lower, upper


def decide(values):
    """The verdict of the rule on that sequence of restarts, and how many it took; None if it would go on."""
    for n in LOOKS:
        if len(values) < n:
            break
        verdict = look(values[:n])[0]
        if verdict:
            return verdict, n
    return None, len(values)


def block_order(rng):
    """ABBA or BAAB, by a coin."""
    return "ABBA" if rng.random() < 0.5 else "BAAB"


def block_ratio(slices):
    """ln(B/A) of one block, [(arm, figure), …]; a drift that is straight over the block cancels."""
    def side(arm):
        return statistics.fmean(math.log(figure) for of, figure in slices if of == arm)
    return side("B") - side("A")


def restart_value(blocks):
    """d of one restart from the ratios of its sound blocks; None without any."""
    return statistics.median(blocks) if blocks else None


def void_reason(controls, limits):
    """Why a slice says more of the machine than of the server, or None. Never asks the server's own latency."""
    for name, limit in limits.items():
        value = controls.get(name)
        if value is not None and value > limit:
            return "%s %.3g over %.3g" % (name, value, limit)
    return None


def unfit(void, blocks, least=16):
    """Whether so many blocks were void that no verdict on this machine would mean anything."""
    return blocks >= least and void / blocks > VOID_MAX


def three_of_three(ratios, limit):
    """Whether every round says that it grew beyond `limit`: what fails the paired micro benches."""
    return len(ratios) >= 3 and all(ratio > limit for ratio in ratios)


def bootstrap(values, seed=1):
    """Percentile interval of the median, for what is only reported."""
    return statistic.bootstrap_interval(values, seed=seed) if values else None


def percent(log_ratio):
    """A log ratio as text: '+5.0 %'."""
    if math.isinf(log_ratio):
        return "unknown"
    return "%+.1f %%" % (100 * math.expm1(log_ratio))
