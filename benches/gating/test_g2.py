"""The trial's bookkeeping, with a generator whose answers are known and servers that only note what is done to them."""
import argparse
import math
import unittest

from gating import g2, sequential as s


class Server:
    def __init__(self, slower, log):
        self.slower, self.log = slower, log

    def freeze(self):
        self.log.append("freeze")

    def thaw(self):
        self.log.append("thaw")


class Generator:
    """Every figure grows by 3 % a slice, whichever arm is asked; `steals` says in which slices the hypervisor stole."""

    def __init__(self, steals=()):
        self.count, self.steals = 0, steals

    def slice(self, server, rate, seconds, seed):
        self.count += 1
        figure = 100 * server.slower * 1.03 ** self.count
        names = ("tail", "cpu_us", "p50", "p99")
        return {**dict.fromkeys(names, figure), "p999": None, "controls": {"steal": 0.5 if self.count in self.steals else 0.0}}


def trial(**generator):
    return g2.Trial({}, Generator(**generator), 1000, argparse.Namespace(seed=1), say=lambda _: None)


class Blocks(unittest.TestCase):
    def ratios(self, trial, blocks):
        found, log = {name: [] for name in trial.values}, []
        servers = {"A": Server(1.0, log), "B": Server(1.2, log)}
        for _ in range(blocks):
            trial.block(servers, found)
        self.assertEqual(log, ["thaw", "freeze"] * 4 * blocks)
        return found

    def test_drift_cancels_and_the_arm_shows(self):
        found = self.ratios(trial(), 5)
        self.assertEqual(len(found["tail"]), 5)
        for ratio in found["tail"] + found["cpu_us"]:
            self.assertAlmostEqual(ratio, math.log(1.2))
        self.assertEqual(found["p999"], [], "a refused percentile is no figure")

    def test_one_bad_slice_voids_its_block_alone(self):
        disturbed = trial(steals=(2, 3, 12))
        found = self.ratios(disturbed, 4)
        self.assertEqual((disturbed.blocks, disturbed.void, disturbed.reasons), (4, 2, {"steal": 2}))
        self.assertEqual(len(found["tail"]), 2)


class Verdicts(unittest.TestCase):
    def test_joined(self):
        for verdicts, wanted in (([s.PASS, s.PASS], s.PASS), ([s.PASS, None], None), ([None, s.FAIL], s.FAIL),
                                 ([s.PASS, s.INCONCLUSIVE], s.INCONCLUSIVE), ([s.INCONCLUSIVE, None], None)):
            self.assertEqual(g2.joined(verdicts), wanted, verdicts)

    def test_of_a_trial(self):
        t = trial()
        self.assertIsNone(t.verdict())
        t.values.update(tail=[0.001] * 8, cpu_us=[0.06] * 8)
        self.assertEqual(t.verdict(), s.FAIL)
        t.values.update(cpu_us=[0.0] * 8)
        self.assertEqual(t.verdict(), s.PASS)
        t.blocks, t.void = 32, 20
        self.assertEqual(t.verdict(), s.UNFIT)

    def test_a_machine_that_voids_restarts_for_ever_is_unfit(self):
        t = trial()
        t.restarts = [{}] * g2.HARD_LIMIT_RESTARTS
        self.assertEqual(t.verdict(), s.UNFIT)

    def test_summary_uses_what_the_verdict_used(self):
        t = trial()
        t.values.update(tail=[0.0] * 20, cpu_us=[0.0] * 20, p99=[0.1] * 20)
        rows = {row[0]: row[1:] for row in g2.summary(t)}
        self.assertEqual(rows["latency tail"], (8, 0.0, 0.0, 0.0))
        self.assertEqual(rows["p99"], (20, 0.1, 0.1, 0.1))


if __name__ == "__main__":
    unittest.main()
