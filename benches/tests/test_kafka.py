"""What the Kafka suites make of samples; the brokers themselves are not started."""
import argparse
import json
import unittest

from ringbench import kafka, reporting, sampling, tables


def sample(cpu_us, dirty=False, **more):
    return {"rps": 2e5, "events": 2e5, "cpu_us": cpu_us, "p50": None, "p99": None, "p999": None, "srv_util": 0.1, "cli_util": 0.0,
            "brokers_util": 0.9, "rss_mb": 60.0, "bad": 0, "other": 0, "exit": 0, "dirty": dirty, **more}


class Values(unittest.TestCase):
    def test_events_are_of_one_length_valid_and_repeatable(self):
        lines = list(kafka.events(1))
        self.assertEqual({len(line) for line in lines}, {kafka.EVENT_BYTES})
        self.assertEqual(len(set(lines)), len(lines))
        self.assertTrue(all(json.loads(line)["type"] == "log" for line in lines))
        self.assertEqual(lines, list(kafka.events(1)))
        self.assertNotEqual(lines, list(kafka.events(2)))


class Differences(unittest.TestCase):
    def test_a_round_is_held_against_its_own_base(self):
        rows = {"null": [sample(1.0), sample(2.0, dirty=True), None], "plain": [sample(1.2), sample(2.5), sample(9.0)]}
        kafka.subtract(rows, "null")
        first, second, third = rows["plain"]
        self.assertAlmostEqual(first["above_us"], 0.2)
        self.assertAlmostEqual(second["above_us"], 0.5)
        self.assertEqual((first["dirty"], second["dirty"]), (False, True))
        self.assertNotIn("above_us", third)
        self.assertNotIn("above_us", rows["null"][0])


class Limits(unittest.TestCase):
    def test_without_a_reference_the_figure_itself_decides(self):
        rows = {"x": [sample(0.2), sample(0.24), sample(9.0, dirty=True), None]}
        for bound, met in ((0.25, True), (0.22, True), (0.21, False)):
            v = sampling.judge(rows, "x", None, "cpu_us", "<=", bound)
            self.assertEqual((v["met"], v["clean_rounds"]), (met, 2), bound)
            self.assertAlmostEqual(v["ratio"], 0.22)
        self.assertIsNone(sampling.judge({"x": [sample(0.2, dirty=True)]}, "x", None, "cpu_us", "<=", 1)["met"])
        self.assertIsNone(sampling.judge({}, "x", None, "cpu_us", "<=", 1)["met"])


class Suites(unittest.TestCase):
    A = argparse.Namespace(bin="/somewhere/ringmill", server_cpus="0", driver=None, kafka_rate=60e3)

    def test_limits_name_arms_of_their_suite(self):
        for name, suite in kafka.SUITES.items():
            for label, row in suite(self.A):
                arms = {arm.name for arm in row["arms"]}
                self.assertIn(row["ref"], arms, label)
                self.assertLessEqual({n for v in row["limits"] for n in v[:2] if n}, arms, name)

    def test_both_sides_are_told_the_same(self):
        for codec in ("none", "lz4"):
            self.assertEqual(kafka.librdkafka(codec).argv[1:], kafka.ringmill(codec).argv[1:])

    def test_tables_and_figures(self):
        rows = {"librdkafka": [sample(0.9), sample(1.1)], "ringmill": [sample(0.2), sample(0.22)], "gone": [None, None]}
        limits = [sampling.judge(rows, "ringmill", ref, "cpu_us", "<=", 0.25) for ref in (None, "librdkafka")]
        result = {"label": "alone", "kafka": True, "figure": kafka.CPU, "ref": "librdkafka", "load": {"per": 1}, "rounds": rows, "limits": limits}
        text = tables.of(result)
        self.assertIn("| ringmill | 2 | 200,000 | 0.210 | cpu_us 0.21 (0.20–0.22) | – | – | – | 0.10 / 0.90 / 0.00 | 60 | – |", text)
        self.assertIn("| gone | 0 | failed", text)
        self.assertIn("cpu_us of ringmill is 0.210 (0.200–0.220), wanted <= 0.25: **met**", text)
        kept = {("kafka-cpu", "alone"): ({}, result)}
        self.assertIn("| alone | cpu_us | itself | 0.21 (0.20–0.22) | ≤ 0.25 | met |", reporting.limits(kept))
        self.assertIn("alone", reporting.figures(kept))


if __name__ == "__main__":
    unittest.main()
