"""Known answers of the paired statistics."""
import math
import random
import unittest

from ringbench import statistic


class SignedRank(unittest.TestCase):
    def test_rank_sums_count_all_assignments(self):
        # Of three signs: sums 0 1 2 3(twice: 3 and 1+2) 4 5 6.
        self.assertEqual(statistic.rank_sums(3), (1, 1, 1, 2, 1, 1, 1))
        self.assertEqual(sum(statistic.rank_sums(24)), 2 ** 24)

    def test_critical_values_are_those_of_the_printed_tables(self):
        # Two-sided 5 %: the largest rejected rank sum T for n, from any table of Wilcoxon's test.
        for n, critical in {6: 0, 7: 2, 8: 3, 9: 5, 10: 8, 12: 13, 16: 29, 20: 52, 25: 89}.items():
            values = [float(2 ** i) for i in range(n)]
            averages = statistic.walsh_averages(values)
            low, high = statistic.signed_rank_interval(values)
            self.assertEqual((low, high), (averages[critical], averages[-critical - 1]), n)

    def test_five_rounds_cannot_reach_95_percent(self):
        self.assertIsNone(statistic.signed_rank_interval([1.0, 2.0, 3.0, 4.0, 5.0]))
        self.assertIsNotNone(statistic.signed_rank_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.90))

    def test_interval_covers_as_often_as_it_says(self):
        r, covered, trials = random.Random(7), 0, 1000
        for _ in range(trials):
            low, high = statistic.signed_rank_interval([r.gauss(0.3, 1) for _ in range(10)])
            covered += low <= 0.3 <= high
        # Exact coverage at n = 10 is 1 - 2 * 25 / 1024 = 95.1 %; three standard errors are 2.1 %.
        self.assertAlmostEqual(covered / trials, 0.951, delta=0.021)

    def test_hodges_lehmann_withstands_an_outlier(self):
        self.assertEqual(statistic.hodges_lehmann([1.0, 2.0, 3.0]), 2.0)
        self.assertLess(statistic.hodges_lehmann([1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 50.0]), 1.2)


class Ratio(unittest.TestCase):
    def test_ratio_is_that_of_b_to_a(self):
        found = statistic.ratio([(10.0, 20.0)] * 6)
        self.assertAlmostEqual(found["ratio"], 2.0)
        self.assertAlmostEqual(found["low"], 2.0)
        self.assertEqual(found["n"], 6)

    def test_swapping_sides_inverts_everything(self):
        r = random.Random(3)
        pairs = [(r.uniform(1, 2), r.uniform(1, 2)) for _ in range(9)]
        there, back = statistic.ratio(pairs), statistic.ratio([(b, a) for a, b in pairs])
        self.assertAlmostEqual(there["ratio"] * back["ratio"], 1.0)
        self.assertAlmostEqual(there["low"] * back["high"], 1.0)

    def test_no_pairs_give_no_ratio(self):
        self.assertEqual(statistic.ratio([])["n"], 0)


class Bootstrap(unittest.TestCase):
    def test_repeatable_and_about_the_mean_s_standard_error(self):
        r = random.Random(11)
        values = [r.gauss(10, 2) for _ in range(100)]
        mean = lambda v: math.fsum(v) / len(v)
        low, high = statistic.bootstrap_interval(values, mean)
        self.assertEqual((low, high), statistic.bootstrap_interval(values, mean))
        self.assertTrue(low < mean(values) < high)
        # 2 * 1.96 * 2 / sqrt(100) = 0.78.
        self.assertAlmostEqual(high - low, 0.78, delta=0.2)


if __name__ == "__main__":
    unittest.main()
