"""Tables and figures from known results."""
import copy
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

from ringbench import reporting, svg, tables

BENCHES = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def sample(cpu_us, p99=90.0, dirty=False):
    return {"rps": 1e5, "events": 1e5, "cpu_us": cpu_us, "p50": 30.0, "p99": p99, "p999": None, "srv_util": 0.5, "cli_util": 1.0,
            "rss_mb": 60.0, "bad": 0, "other": 0, "exit": 0, "dirty": dirty}


def rounds(label="one event", rate=0):
    limit = {"arm": "ringmill", "ref": "raw", "figure": "cpu_us", "op": "<=", "bound": 1.1, "ratio": 1.2, "min": 1.1, "max": 1.3,
             "met": False, "clean_rounds": 2}
    return {"label": label, "ref": "raw", "load": {"per": 1, "conns": 64, "rate": rate}, "limits": [limit],
            "rounds": {"raw": [sample(5.0), sample(6.0)], "ringmill": [sample(6.0), sample(7.2, dirty=True)], "gone": [None, None]}}


def memory():
    return {"label": "RSS, null", "rss_kb": [[i / 2, 60 * 1024 + i] for i in range(10)], "plan_bytes": 100 << 20, "plan": "", "events": 2e7,
            "not_2xx": 0, "bad": 0, "exit": 0, "peak_bytes": 61 << 20, "slope_kb_per_s": 2.0, "growth_bytes": 9216.0, "met_plan": True,
            "met_slope": True, "met_events": True}


def chaos_result():
    classes = lambda p99: {"valid": {"p50": 100.0, "p90": 200.0, "p99": p99, "p999": None, "sent": 800, "unexpected": 0},
                           "cut_json": {"p50": 90.0, "p90": 91.0, "p99": 80.0, "p999": 95.0, "sent": 200, "unexpected": 50}}
    run = lambda p99, slope: {**sample(10.0), "classes": classes(p99), "slope_kb_per_s": slope, "rss_kb": [[0, 1024], [1, 1024 + slope]],
                              "throttled": {"nr_periods": 100, "nr_throttled": 25, "throttled_us": 9}}
    return {"label": "chaos", "chaos": True, "verdict": "It holds.", "highest": {"seed": 1e4, "ringmill": 3e4}, "named_rate": 220_000,
            "at": [{"rate": 9000, "highest_of": "seed", "rounds": {"seed": [run(9000.0, 900.0), None], "ringmill": [run(500.0, 0.0)] * 2}}]}


def file(suite, results, when="2026-01-01T00:00:00Z"):
    environment = {"time": when, "git_commit": "abcdef0123456", "git_dirty": False, "cores": 2, "cpu": "a CPU", "machine": "x86_64",
                   "kernel": "6.1", "generator": "lg"}
    return {"suite": suite, "environment": environment, "rounds": 2, "results": results}


class Tables(unittest.TestCase):
    def test_rounds(self):
        text = tables.of(rounds())
        # The dirty round counts for the median of the figures, not for the ratio.
        self.assertIn("| ringmill | 2 | 100,000 | 100,000 | 6.60 | cpu_us 1.20 (1.20–1.20) | 30 | 90 | – | 0.50 / 1.00 | 60 | 1 dirty |", text)
        self.assertIn("| gone | 0 | failed", text)
        self.assertIn("cpu_us of ringmill is 1.20 (1.10–1.30) of raw, wanted <= 1.1: **not met**", text)

    def test_memory(self):
        self.assertIn("| peak RSS, of the plan's 100.0 MiB | 61.0 MiB | met |", tables.of(memory()))

    def test_writeup(self):
        self.assertIn("| ringmill | 100,000 | 30 | 90 | 50 % | 6.6 |", tables.of_writeup(rounds()))

    def test_chaos_tells_classes_and_servers_apart(self):
        text = tables.of(chaos_result())
        self.assertIn("| valid | 100 | 9000 | – | 0.0 % | 100 | 500 | – | 0.0 % |", text)
        self.assertIn("| cut_json | 90 | 80 | 95 | 25.0 % | 90 | 80 | 95 | 25.0 % |", text)
        self.assertIn("seed: 1 runs, held back in 25 % of periods, peak RSS 60 MiB, memory grows by 900 KiB/s", text)
        self.assertIn("ringmill: 2 runs, held back in 25 % of periods, peak RSS 60 MiB, memory stays", text)


class Figures(unittest.TestCase):
    def texts(self, drawing):
        return [e.text for e in xml.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")]

    def test_all_are_sound_xml_with_their_names(self):
        drawn = {}
        for result in (rounds("a <b> & c"), rounds("open", rate=20000), memory(), chaos_result()):
            of = reporting.of_chaos if result.get("chaos") else reporting.of_rounds if "rounds" in result else reporting.of_memory
            drawn.update(of(result))
        self.assertEqual(list(drawn), ["a-b-c", "open", "rss-null", "chaos-latency-at-highest-of-seed", "chaos-memory-at-highest-of-seed"])
        for name, drawing in drawn.items():
            self.assertTrue(self.texts(drawing)[0], name)
            self.assertNotIn("http:", drawing.replace("http://www.w3.org/2000/svg", ""), name)
        self.assertIn("ringmill", self.texts(drawn["a-b-c"]))
        # What was refused is not drawn: p50 and p99 of two servers, not p999, and the legend of three.
        circles = list(xml.fromstring(drawn["open"]).iter("{http://www.w3.org/2000/svg}circle"))
        self.assertEqual(len(circles), 2 * 2 + 3)

    def test_a_bar_ends_where_its_value_lies(self):
        drawing = svg.bars("t", "µs", [("ringmill", 5.0, 4.0, 10.0)])
        width = float(next(xml.fromstring(drawing).iter("{http://www.w3.org/2000/svg}rect")).get("width"))
        self.assertAlmostEqual(width, (svg.WIDTH - svg.LEFT - svg.RIGHT) / 2, delta=0.1)

    def test_axes_hold_everything_in_round_steps(self):
        self.assertEqual(svg.steps(10), [0, 2, 4, 6, 8, 10])
        self.assertEqual(svg.steps(0.7)[-1], 0.8)
        for high in (1e-3, 3.3, 47, 1e6, 2_160_286):
            ticks = svg.steps(high)
            self.assertTrue(high <= ticks[-1] <= 2 * high and 2 <= len(ticks) <= 7, (high, ticks))
        self.assertEqual([svg.short(v) for v in (0.5, 12.345, 2160286, 38000)], ["0.5", "12.3", "2.16 M", "38 k"])


class Report(unittest.TestCase):
    def test_the_newest_result_of_a_suite_counts(self):
        old, new = rounds(), copy.deepcopy(rounds())
        new["limits"][0]["ratio"] = 1.05
        found = [("2", "single", {}, new), ("1", "single", {}, old), ("1", "rss", {}, memory())]
        kept = reporting.newest(sorted(found, key=lambda row: row[0]))
        self.assertEqual([r["limits"][0]["ratio"] for _, r in kept.values() if "limits" in r], [1.05])

    def test_limits_are_one_table(self):
        kept = {("single", "one event"): ({}, rounds()), ("rss", "RSS, null"): ({}, memory())}
        text = reporting.limits(kept)
        self.assertIn("| one event | cpu_us | raw | 1.20 (1.10–1.30) | ≤ 1.1 | **not met** |", text)
        self.assertIn("| RSS, null | peak RSS | plan | 0.61 | ≤ 1.05 | met |", text)

    def test_only_the_quoted_part_of_a_page_changes(self):
        page = "before\n<!-- report:single -->\nold\n<!-- /report -->\nafter <!-- measured -->\n"
        filled = reporting.fill(page, {"single": "new"})
        self.assertEqual(filled, page.replace("old", "new"))
        self.assertEqual(reporting.fill(filled, {"single": "new"}), filled)
        with self.assertRaises(SystemExit) as refused:
            reporting.fill("<!-- report:unknown -->\n<!-- /report -->", {"single": "new"})
        self.assertIn("unknown", str(refused.exception))

    def test_command_writes_once_and_then_finds_everything_in_order(self):
        with tempfile.TemporaryDirectory() as folder:
            at = lambda name: os.path.join(folder, name)
            for name, content in (("1.json", file("single", [rounds()])), ("2.json", file("rss", [memory()])),
                                  ("3.json", file("chaos", [chaos_result()])), ("4.json", file("writeup", [rounds("w")])), ("5.json", [1])):
                with open(at(name), "w") as f:
                    json.dump(content, f)
            with open(at("page.md"), "w") as f:
                f.write("<!-- report:limits -->\n<!-- /report -->\n<!-- report:environment -->\n<!-- /report -->\n")
            argv = [sys.executable, os.path.join(BENCHES, "report"), "--results", folder, "--figures", at("figures"), "--into", at("page.md")]
            call = lambda *more: subprocess.run([*argv, *more], capture_output=True, text=True, timeout=30)
            self.assertEqual(call("--check").returncode, 1)
            self.assertEqual(call().returncode, 0)
            again = call("--check")
            self.assertEqual((again.returncode, again.stdout), (0, ""))
            with open(at("page.md")) as f:
                page = f.read()
            self.assertIn("| single | 2026-01-01T00:00:00Z | abcdef012 | 2 cores of a CPU, Linux 6.1 | lg | 2 |", page)
            self.assertIn("one-event.svg", os.listdir(at("figures")))


if __name__ == "__main__":
    unittest.main()
