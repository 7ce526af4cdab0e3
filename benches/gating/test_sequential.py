"""Known cases of the sequential rule: tables, exact numbers, and simulated restarts with a printed seed."""
import itertools
import math
import random
import unittest

from gating import sequential as s


class SignedRank(unittest.TestCase):
    def test_distribution_is_that_of_all_sign_patterns(self):
        for n in range(1, 9):
            sums = [sum(r for r, plus in zip(range(1, n + 1), signs) if plus)
                    for signs in itertools.product((0, 1), repeat=n)]
            wanted = [sum(t <= x for t in sums) / len(sums) for x in range(n * (n + 1) // 2 + 1)]
            self.assertEqual(s.signed_rank_cdf(n), wanted, n)

    def test_published_critical_values(self):
        # One-sided 1 %: the largest T with P(T <= t) <= 0.01, from the usual tables.
        for n, critical in ((8, 1), (10, 5), (12, 9), (16, 23), (20, 43), (24, 69)):
            self.assertEqual(sum(p <= 0.01 for p in s.signed_rank_cdf(n)) - 1, critical, n)

    def test_eight_are_the_fewest_that_bear_a_bound(self):
        self.assertEqual(s.bounds([0.1] * 7), (-math.inf, math.inf))
        values = [0.03, 0.01, 0.08, 0.02, 0.05, 0.04, 0.07, 0.06]
        self.assertEqual(s.bounds(values), (0.01, 0.08))

    def test_estimate_is_hodges_lehmann(self):
        # Walsh averages of 1, 2, 10: 1, 1.5, 2, 5.5, 6, 10.
        self.assertEqual(s.walsh([10, 1, 2]), [1, 1.5, 2, 5.5, 6, 10])
        self.assertEqual(s.estimate([10, 1, 2]), 3.75)

    def test_bounds_hold_as_often_as_they_say(self):
        rng, truth, misses, trials = random.Random(11), 0.02, 0, 4000
        for _ in range(trials):
            lower, _ = s.bounds([truth + rng.gauss(0, 0.05) for _ in range(12)])
            misses += lower > truth
        self.assertLess(misses / trials, 0.008)
        self.assertGreater(misses, 0)


class Rule(unittest.TestCase):
    def test_looks(self):
        eight = [0.001 * n for n in range(-4, 4)]
        cases = [
            ("equal", eight, s.PASS),
            ("much better", [-0.5 + v for v in eight], s.PASS),
            ("much worse", [0.2 + v for v in eight], s.FAIL),
            ("worse by 3 %, surely, and surely not by 10 %", [0.03 + v for v in eight], s.PASS),
            ("worse by 6 %, surely", [0.06 + v for v in eight], s.FAIL),
            ("one restart far off", eight[:7] + [0.4], None),
            ("one restart better than all others are worse", [0.2] * 7 + [-0.01], None),
        ]
        for what, values, verdict in cases:
            self.assertEqual(s.look(values)[0], verdict, what)

    def test_more_restarts_forgive_what_eight_cannot(self):
        quiet = [0.001 * (n % 5 - 2) for n in range(24)]
        values = quiet[:7] + [0.4] + quiet[8:]
        self.assertEqual(s.decide(values[:8]), (None, 8))
        self.assertEqual(s.decide(values), (s.PASS, 16))

    def test_twenty_four_are_the_end(self):
        wild = [0.3 * (-1) ** n for n in range(24)]
        self.assertEqual(s.decide(wild), (s.INCONCLUSIVE, 24))
        self.assertEqual(s.decide(wild[:23]), (None, 23))

    def test_simulated_restarts(self):
        # A restart's own effect of 3 %, and what is left of bursts: d is off by that much, rarely by far more.
        def verdicts(truth, seed, trials=400):
            rng = random.Random(seed)
            def d():
                return math.log(truth) + rng.gauss(0, 0.03) + (rng.gauss(0, 0.2) if rng.random() < 0.03 else 0)
            seen = [s.decide([d() for _ in range(24)])[0] for _ in range(trials)]
            return {v: seen.count(v) / trials for v in (s.PASS, s.FAIL, s.INCONCLUSIVE)}
        for truth, verdict, least, most in ((1.0, s.FAIL, 0, 0.01), (1.0, s.PASS, 0.95, 1), (1.10, s.FAIL, 0.95, 1),
                                            (1.15, s.FAIL, 0.99, 1), (0.9, s.FAIL, 0, 0.005)):
            share = verdicts(truth, 1)[verdict]
            self.assertTrue(least <= share <= most, "seed 1, truth %g: %s in %.3f" % (truth, verdict, share))


class Blocks(unittest.TestCase):
    def test_both_orders_occur(self):
        rng = random.Random(1)
        self.assertEqual({s.block_order(rng) for _ in range(50)}, {"ABBA", "BAAB"})

    def test_a_straight_drift_cancels(self):
        for order in ("ABBA", "BAAB"):
            figures = [math.exp(4 + 0.1 * at + (0.05 if arm == "B" else 0)) for at, arm in enumerate(order)]
            self.assertAlmostEqual(s.block_ratio(list(zip(order, figures))), 0.05)

    def test_a_restart_is_its_median_block(self):
        self.assertEqual(s.restart_value([0.01, 0.9, 0.02]), 0.02)
        self.assertIsNone(s.restart_value([]))

    def test_control_channels_void_and_nothing_else(self):
        limits = {"steal": 0.01, "send_lag_us": 50}
        cases = [({}, None), ({"steal": 0.01, "latency": 1e9}, None), ({"send_lag_us": None}, None),
                 ({"steal": 0.02}, "steal 0.02 over 0.01"), ({"send_lag_us": 60.0}, "send_lag_us 60 over 50")]
        for controls, why in cases:
            self.assertEqual(s.void_reason(controls, limits), why, controls)

    def test_half_void_is_unfit_once_there_are_enough(self):
        for void, blocks, unfit in ((8, 16, False), (9, 16, True), (9, 10, False), (0, 96, False)):
            self.assertEqual(s.unfit(void, blocks), unfit, (void, blocks))


class Rest(unittest.TestCase):
    def test_three_of_three(self):
        for ratios, fails in (([1.06, 1.07, 1.2], True), ([1.06, 1.04, 1.2], False), ([1.06, 1.07], False), ([1.05] * 3, False)):
            self.assertEqual(s.three_of_three(ratios, 1.05), fails, ratios)

    def test_bootstrap_holds_the_median_and_is_repeatable(self):
        values = [0.01 * n for n in range(11)]
        low, high = s.bootstrap(values, seed=3)
        self.assertTrue(0 <= low < 0.05 < high <= 0.1, (low, high))
        self.assertEqual((low, high), s.bootstrap(values, seed=3))
        self.assertIsNone(s.bootstrap([]))

    def test_percent(self):
        for value, text in ((math.log(1.05), "+5.0 %"), (math.log(0.9), "-10.0 %"), (math.inf, "unknown")):
            self.assertEqual(s.percent(value), text)


if __name__ == "__main__":
    unittest.main()
