"""Results with known differences, told apart or not."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

from ringbench import comparing, results, tables

BENCHES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def sample(cpu_us, dirty=False):
    return {"rps": 1e6 / cpu_us, "events": 1e6 / cpu_us, "cpu_us": cpu_us, "p50": 30.0, "p99": 90.0, "p999": None, "dirty": dirty}


def result(arms, label="suite", ref="raw"):
    return [{"label": label, "ref": ref, "rounds": {name: [c if c is None or isinstance(c, dict) else sample(c) for c in costs]
                                                    for name, costs in arms.items()}}]


def file(results):
    return {"suite": "single", "environment": {}, "rounds": 8, "results": results}


DRIFT = [1.0, 1.3, 0.8, 1.1, 1.6, 0.9, 1.2, 1.05]


def run(cost, drift=DRIFT, noise=(0.99, 1.01, 1.0, 1.005, 0.995, 1.002, 0.998, 1.001)):
    """A machine that drifts by half, and a server that costs `cost` times the reference."""
    return result({"raw": [5 * d for d in drift], "ringmill": [5 * d * cost * n for d, n in zip(drift, noise)]})


def said(rows, figure, arm="ringmill"):
    return next(r["says"] for r in rows if r["figure"] == figure and r["arm"] == arm)


class Compare(unittest.TestCase):
    def test_reference_takes_the_drift_out(self):
        a, b = run(1.0), run(1.10, drift=DRIFT[::-1], noise=(1.0,) * 8)
        rows = comparing.compare((a, None), (b, None))
        self.assertEqual(said(rows, "cpu_us"), comparing.WORSE)
        self.assertEqual(said(rows, "rps"), comparing.WORSE)
        row = next(r for r in rows if (r["arm"], r["figure"]) == ("ringmill", "cpu_us"))
        self.assertEqual(row["unit"], "raw")
        self.assertAlmostEqual(row["ratio"], 1.10, delta=0.01)
        back = comparing.compare((b, None), (a, None))
        self.assertEqual(said(back, "cpu_us"), comparing.BETTER)

    def test_equal_runs_are_not_told_apart(self):
        rows = comparing.compare((run(1.0), None), (run(1.0, drift=DRIFT[::-1]), None))
        self.assertEqual({r["says"] for r in rows if r["arm"] == "ringmill"}, {comparing.EQUAL})

    def test_a_small_difference_needs_no_word(self):
        b = run(1.02)
        told = lambda least: said(comparing.compare((run(1.0), None), (b, None), least=least), "cpu_us")
        self.assertEqual((told(0.03), told(0.01)), (comparing.EQUAL, comparing.WORSE))

    def test_too_few_rounds_decide_nothing(self):
        a = result({"raw": [5.0] * 5, "ringmill": [5.0] * 5})
        b = result({"raw": [5.0] * 5, "ringmill": [50.0] * 5})
        row = next(r for r in comparing.compare((a, None), (b, None)) if (r["arm"], r["figure"]) == ("ringmill", "cpu_us"))
        self.assertEqual((row["says"], row["low"]), (comparing.EQUAL, None))
        self.assertAlmostEqual(row["ratio"], 10.0)
        self.assertIn("too few rounds", comparing.table([row], 0.95))

    def test_dirty_failed_and_missing_samples_are_left_out(self):
        costs = [5.0] * 6
        a = result({"raw": costs + [5.0, 5.0], "ringmill": costs + [None, sample(500.0, dirty=True)]})
        b = result({"raw": costs + [5.0, 5.0], "ringmill": costs + [5.0, 5.0]})
        rows = comparing.compare((a, None), (b, None))
        self.assertEqual({r["n"] for r in rows if r["arm"] == "ringmill"}, {6})
        # p999 was refused in each sample: no row at all.
        self.assertNotIn("p999", {r["figure"] for r in rows})

    def test_two_servers_of_one_run_in_the_same_round(self):
        both = result({"seed": [12.0 * d for d in DRIFT], "ringmill": [6.0 * d for d in DRIFT]}, ref="none")
        row = comparing.compare((both, "seed"), (both, "ringmill"))[0]
        self.assertEqual((row["arm"], row["unit"], row["says"]), ("seed → ringmill", "same round", comparing.BETTER))
        self.assertAlmostEqual(row["ratio"], 2.0)

    def test_runs_of_a_set_follow_each_other(self):
        three = run(1.0, drift=DRIFT[:3]) + run(1.0, drift=DRIFT[3:6])
        slow = run(1.5, drift=DRIFT[:3]) + run(1.5, drift=DRIFT[3:6])
        rows = comparing.compare((three, None), (slow, None))
        self.assertEqual(next(r["n"] for r in rows if r["arm"] == "ringmill"), 6)
        self.assertEqual(said(rows, "cpu_us"), comparing.WORSE)


class Bursts(unittest.TestCase):
    def test_the_first_shape_of_pairs_reads_like_any_run(self):
        pair = [{**sample(6.0), "p50": 36.0}, {**sample(5.0), "p50": 30.0}]
        d = results.of_bursts({"suite": "pairs", "sink": "null", "rate": 60000.0, "reference": "s_raw", "environment": {}, "pairs": [pair] * 8})
        found = comparing.compare((d["results"], "s_raw"), (d["results"], "ringmill"))
        self.assertAlmostEqual(next(r["ratio"] for r in found if r["figure"] == "p50"), 1.2)
        self.assertIn("| p50 | 36.0 | 30.0 | 1.20 (1.20–1.20) |", tables.of(d["results"][0]))


class Command(unittest.TestCase):
    def run_it(self, *args):
        argv = [sys.executable, os.path.join(BENCHES, "compare"), *args]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20)

    def test_exit_codes(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("a.json", "b.json", "no.json")]
            for path, content in zip(paths, (file(run(1.0)), file(run(1.3)), {"x": 1})):
                with open(path, "w") as f:
                    json.dump(content, f)
            worse, better = self.run_it(*paths[:2]), self.run_it(paths[1], paths[0])
            self.assertEqual((worse.returncode, better.returncode), (1, 0), worse.stderr + better.stderr)
            self.assertIn("**worse**", worse.stdout)
            for args in ((paths[0], paths[2]), (paths[0], os.path.join(folder, "missing"))):
                wrong = self.run_it(*args)
                self.assertEqual(wrong.returncode, 2)
                self.assertIn("no result", wrong.stderr)


if __name__ == "__main__":
    unittest.main()
