"""Deciding parts of the runner: the search for a rate, what a run of `ringmill load` says, memory, throttling."""
import argparse
import unittest

import run
from ringbench import chaos, generators, memory, processes, sampling, servers, suites, throttle


class HighestRate(unittest.TestCase):
    def test_finds_a_threshold_from_either_side(self):
        for truth in (900.0, 20_000.0, 33_333.0, 410_000.0):
            found = chaos.highest(lambda rate: rate <= truth, 20_000.0)
            # Half a step of the last bisection of an interval of at most one half to twice the rate.
            self.assertTrue(0.93 * truth <= found <= truth, (truth, found))

    def test_only_two_undisturbed_failures_decide(self):
        held, failed, disturbed = (True, False), (False, False), (False, True)
        for attempts, wanted in (([failed, held], True), ([failed, failed, held], False), ([disturbed, disturbed, disturbed, held], True),
                                 ([failed, disturbed, held], True), ([disturbed] * 4 + [held], False)):
            left = iter(attempts)
            self.assertEqual(chaos.twice(lambda: next(left), 3), wanted, attempts)

    def test_a_server_that_holds_nothing_ends_the_search(self):
        self.assertEqual(chaos.highest(lambda rate: False, 20_000.0), 0.0)


def run_of(per_s, p99):
    return {"rps": per_s, "dirty": False, "classes": {"valid": {"p50": 50.0, "p99": p99, "p999": None, "sent": 1, "unexpected": 0}}}


class Holding(unittest.TestCase):
    def test_a_rate_holds_when_answered_in_time(self):
        for d, held in ((run_of(995, 400.0), True), (run_of(980, 400.0), False), (run_of(1000, 60_000.0), False),
                        (run_of(1000, None), False), (None, False)):
            self.assertEqual(chaos.holds(d, 1000), held, d)

    def test_p90_stands_in_for_a_refused_p99(self):
        for p90, held in ((400.0, True), (60_000.0, False)):
            d = run_of(1000, None)
            d["classes"]["valid"]["p90"] = p90
            self.assertEqual(chaos.holds(d, 1000), held)

    def test_resets_count_as_settled(self):
        self.assertTrue(chaos.holds({**run_of(900, 400.0), "settled_per_s": 999.0}, 1000))


LOAD = {"mode": "open", "offered_per_s": 1000, "sent": 4000, "completed": 3900, "censored": 60, "errors": 40, "elapsed_s": 4.0,
        "status": {"200": 3000, "400": 900}, "unexpected": 3, "latency_us": {"p50": 40, "p90": 60, "p99": 90, "p999": None, "max": 500},
        "classes": {"valid": {"sent": 3200, "unexpected": 1, "latency_us": {"p50": 41, "p99": 91, "p999": None}},
                    "cut_json": {"sent": 800, "unexpected": 2, "p50": 30, "p99": 70}},
        "verdict": {"limit": "none", "why": "nothing"}, "environment": {"cpu": "x"}, "command": "ringmill load"}


class LoadJson(unittest.TestCase):
    def test_figures_have_the_names_of_all_generators(self):
        d = generators.figures_of_load(LOAD, 10, 5.0, 39_000_000)
        self.assertEqual((d["rps"], d["events"], d["cpu_us"]), (975.0, 7500.0, 10.0))
        self.assertEqual((d["p99"], d["p999"], d["max"]), (90, None, 500))
        self.assertEqual((d["bad"], d["other"], d["unexpected"], d["settled_per_s"]), (40, 900, 3, 985.0))
        self.assertEqual(d["load"]["verdict"]["limit"], "none")
        self.assertNotIn("environment", d["load"])

    def test_classes_with_or_without_a_level_between(self):
        classes = chaos.by_class(generators.figures_of_load(LOAD, 1, 4.0, 1))
        self.assertEqual(classes["valid"], {"p50": 41, "p90": None, "p99": 91, "p999": None, "sent": 3200, "unexpected": 1})
        self.assertEqual(classes["cut_json"]["p99"], 70)
        self.assertEqual(list(chaos.by_class({"p50": 1.0, "p99": 2.0, "p999": 3.0})), ["all"])


class Verdicts(unittest.TestCase):
    def test_the_verdict_names_rates_and_growth(self):
        at = {"rate": 9000, "highest_of": "seed", "rounds": {
            name: [{**run_of(per_s, p99), "slope_kb_per_s": slope}] for name, per_s, p99, slope in (
                ("seed", 8000.0, 20_000.0, 700.0), ("ringmill", 9000.0, 800.0, 1.0))}}
        said = chaos.verdict({"highest": {"seed": 10_000.0, "ringmill": 30_000.0}, "named_rate": 220_000, "at": [at]})
        self.assertIn("holds 10 k requests/s on this machine, ringmill 30 k (3.0 times as many)", said)
        self.assertIn("seed answers 89 %, valid events with p99 20.0 ms and p999 not measurable; memory grows by 700 KiB/s", said)
        self.assertIn("ringmill answers 100 %, valid events with p99 800 µs", said)
        self.assertIn("memory stays", said)


class Memory(unittest.TestCase):
    def test_slope_of_a_line_and_of_too_little(self):
        per_s, growth = processes.slope([(t, 100 + 3 * t) for t in range(13)])
        self.assertAlmostEqual(per_s, 3.0)
        self.assertAlmostEqual(growth, 3.0 * 7)
        self.assertIsNone(processes.slope([(0, 1), (1, 1), (2, 1)]))
        self.assertIsNone(processes.slope([]))

    def test_growth_beyond_a_page_here_and_there_is_none_to_accept(self):
        result = lambda kb_per_s: memory.judged({
            "rss_kb": [(t, 50_000 + kb_per_s * t) for t in range(61)], "plan_bytes": 100 << 20, "peak_bytes": 60 << 20, "events": 10, "not_2xx": 0,
            "bad": 0, "exit": 0}, 10)
        self.assertTrue(result(1)["met_slope"] and result(1)["met_plan"] and result(1)["met_events"])
        self.assertFalse(result(50)["met_slope"])


class Limits(unittest.TestCase):
    def test_only_rounds_that_are_clean_on_both_sides_decide(self):
        s = lambda cpu, dirty=False: {"cpu_us": cpu, "dirty": dirty}
        rows = {"ringmill": [s(6.0), s(60.0, True), None], "raw": [s(5.0), s(5.0), s(5.0)]}
        judged = sampling.judge(rows, "ringmill", "raw", "cpu_us", "<=", 1.3)
        self.assertEqual((judged["ratio"], judged["clean_rounds"], judged["met"]), (1.2, 1, True))
        self.assertIsNone(sampling.judge({"ringmill": [None], "raw": [s(5.0)]}, "ringmill", "raw", "cpu_us", "<=", 1.3)["met"])

    def test_quota_scales_with_cores(self):
        self.assertEqual(throttle.quota_us(0.05, 1, 100_000), 95_000)
        self.assertEqual(throttle.quota_us(0.05, 4, 100_000), 380_000)


class Suites(unittest.TestCase):
    def test_each_limit_names_a_server_of_its_suite_or_a_missing_yardstick(self):
        a = run.parser().parse_args(["smoke", "--bin", "/bin/true", "--aa"])
        for name, rows in {**suites.ROUNDS, "pairs": suites.pairs}.items():
            for label, suite in rows(a):
                names = [arm.name for arm in suite["arms"]]
                self.assertEqual(len(names), len(set(names)), label)
                for arm, ref, *_ in suite["limits"]:
                    self.assertIn(arm, names, label)
                    self.assertIn(ref, [*names, servers.name_of("raw"), servers.name_of("seed")], label)

    def test_core_lists(self):
        self.assertEqual(run.cpu_list("0,2-4"), [0, 2, 3, 4])

    def test_the_generator_asked_for_is_taken(self):
        a = argparse.Namespace(generator="builtin", load_bin="/nowhere")
        self.assertEqual(generators.choose(a, ("load",)), "builtin")
        a.generator = "auto"
        self.assertEqual(generators.choose(a, ("load",)), "builtin")


if __name__ == "__main__":
    unittest.main()
