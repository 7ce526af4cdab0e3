"""What the comparison of load generators reads from their words, and its arithmetic."""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from ringbench import tables, tools  # noqa: E402

WRK = """Running 4s test @ http://127.0.0.1:9000/ingest
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   573.95us  131.93us   3.06ms   86.37%
    Req/Sec   111.78k     2.43k  114.55k    82.50%
  Latency Distribution
     50%  560.00us
     75%  603.00us
     90%    1.20ms
     99%    2.00s
  444922 requests in 4.00s, 27.58MB read
  Socket errors: connect 0, read 1, write 2, timeout 3
  Non-2xx or 3xx responses: 7
Requests/sec: 111229.11
Transfer/sec:      6.90MB
"""
OHA = json.dumps({"summary": {"total": 2.0, "requestsPerSec": 999}, "latencyPercentiles": {"p50": 0.001, "p90": 0.002, "p99": 0.09, "p99.9": None},
                  "statusCodeDistribution": {"202": 900, "503": 100},
                  "errorDistribution": {"aborted due to deadline": 64, "connection refused": 2}})


class Reading(unittest.TestCase):
    def test_wrk(self):
        self.assertEqual(tools.read_wrk(WRK), {"rps": 111229.11, "p50": 560.0, "p90": 1200.0, "p99": 2e6, "other": 7, "bad": 6})

    def test_oha(self):
        d = tools.read_oha(OHA)
        self.assertEqual((d["rps"], d["p50"], d["p99"], d["p999"], d["bad"], d["other"]), (500.0, 1000.0, 90000.0, None, 2, 100))


class Truth(unittest.TestCase):
    def test_even_requests_into_even_stalls(self):
        # A tenth of the requests meets a stall and waits evenly from 0 to 100 ms: a hundredth waits 90 ms or more.
        stood = [(k + 0.5, k + 0.6) for k in range(10)]
        self.assertAlmostEqual(tools.true_p99_us(stood, 0, 10), 90_000, delta=1)

    def test_a_stall_across_the_edge_counts_by_what_lies_within(self):
        # Requests come from 0.05 on; all that meet the rest of this stall are one in twenty.
        self.assertAlmostEqual(tools.true_p99_us([(0, 0.1)], 0.05, 1.05), 40_000, delta=1)

    def test_no_stall(self):
        self.assertEqual(tools.true_p99_us([], 0, 10), 0)


class Keeping(unittest.TestCase):
    def test_a_plan_is_kept_by_rate_and_by_time(self):
        for d, kept in (({"rps": 990, "p50": 100}, True), ({"rps": 980, "p50": 100}, False), ({"rps": 1000, "p50": 2000}, False),
                        ({"rps": 1000, "p50": None}, False), (None, False)):
            self.assertEqual(tools.keeps(d, 1000), kept, d)


class Tables(unittest.TestCase):
    def test_each_part_has_one(self):
        rows = [({"label": "a", "tools": "open", "found": {"load": [100e3], "lg": [110e3]}}, "0.91"),
                ({"label": "b", "tools": "lag", "bound_us": 5, "rows": [{"send_lag_us": {"p50": 0.5}, "dirty": False}]}, "**met**"),
                ({"label": "c", "tools": "stall", "rows": [{"tool": "wrk", "p99_us": 900, "true_p99_us": 90_000, "rps": 1.0}]}, "0.010"),
                ({"label": "d", "tools": "memory", "requests": 1e8, "seconds": 2, "exit": 0, "peak_kb": 2048, "growth_kb": 1, "met": False,
                  "hlog_bytes": 0}, "not met")]
        for result, shown in rows:
            self.assertIn(shown, tables.of(result))


if __name__ == "__main__":
    unittest.main()
