#!/usr/bin/env python3
"""Reads an interval log with HdrHistogram's Python implementation (PyPI: hdrhistogram), not with the one that wrote it.

read_hlog.py FILE.hlog    prints one JSON line for each tag: intervals, values, and percentiles in nanoseconds

Exits 77 when the package is not there (pip install hdrhistogram).
"""
import json, sys

try:
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader
except ImportError:
    print("the Python package hdrhistogram is missing", file=sys.stderr)
    sys.exit(77)

LOWEST_NS, HIGHEST_NS, DIGITS = 1_000, 3_600_000_000_000, 3


def main(path):
    reader = HistogramLogReader(path, HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS))
    tags = {}
    while (interval := reader.get_next_interval_histogram()) is not None:
        count, sum_of = tags.setdefault(interval.get_tag(), [0, HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)])
        tags[interval.get_tag()][0] = count + 1
        if interval.get_total_count():
            sum_of.add(interval)
    for tag, (intervals, histogram) in tags.items():
        at = histogram.get_value_at_percentile
        found = {"tag": tag, "intervals": intervals, "values": histogram.get_total_count()}
        print(json.dumps(found | {"p50": at(50), "p99": at(99), "p999": at(99.9), "max": histogram.get_max_value()}))


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
