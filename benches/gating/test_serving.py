"""What the generators print, as figures."""
import unittest

from gating import serving, tree

LG = {"rps": 50000, "cpu_us": 5.2, "p50": 30.1, "p90": 60.2, "p99": 120.0, "p999": 900.0, "bad": 0, "other": 0, "cli_delay": 0.001}
LOAD = {"mode": "open", "completed": 50000, "errors": 0, "unexpected": 0, "verdict": {"limit": "none", "why": ""},
        "latency_us": {"p50": 30, "p90": 60, "p95": 80, "p99": 120, "p999": None}, "send_lag_us": {"p99": 4}}


class Figures(unittest.TestCase):
    def test_lg(self):
        got = serving.lg_figures(LG)
        self.assertEqual((got["tail"], got["cpu_us"], got["controls"]), (60.2, 5.2, {"generator_delay": 0.001}))
        with self.assertRaises(tree.Unusable):
            serving.lg_figures({**LG, "other": 1})

    def test_load(self):
        got = serving.load_figures(LOAD, 300_000_000, 1.0, 0.2)
        self.assertEqual((got["tail"], got["per_s"], got["p999"]), (80, 50000, None))
        self.assertAlmostEqual(got["cpu_us"], 5.0)
        self.assertEqual(got["controls"], {"send_lag_p99_us": 4, "generator": 0.0})
        self.assertEqual(serving.load_figures({**LOAD, "latency_us": {**LOAD["latency_us"], "p95": None}}, 1, 1, 0.2)["tail"], 60)
        for broken in ({"errors": 1}, {"unexpected": 2}, {"completed": 0}, {"latency_us": {"p90": None}}):
            with self.assertRaises(tree.Unusable):
                serving.load_figures({**LOAD, **broken}, 1, 1.0, 0.2)

    def test_replies(self):
        self.assertEqual(serving.length_of(b"HTTP/1.1 202 Accepted\r\nContent-Length: 17\r\nX: y\r\n\r\n{"), 17)


if __name__ == "__main__":
    unittest.main()
