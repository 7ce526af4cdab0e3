"""Result files: what benches/run wrote, in one shape."""
import json


class Unreadable(Exception):
    """What was named is no result; the message says which and why."""


def read(path):
    """A result file as {suite, environment, rounds, results}, or Unreadable."""
    try:
        with open(path) as f:
            d = json.load(f)
        if "pairs" in d:
            return of_bursts(d)
        return {"suite": d["suite"], "environment": d["environment"], "rounds": d.get("rounds"), "results": d["results"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreadable("%s is no result of benches/run: %s" % (path, error or type(error).__name__)) from error


def of_bursts(d):
    """The first shape of `pairs`: one row a file, its bursts ringmill's first."""
    clean = lambda side: [{"dirty": False, "exit": 0, **pair[side]} for pair in d["pairs"]]
    label = "bursts at %d k/s, %s" % (d["rate"] / 1e3, d["sink"])
    row = {"label": label, "bursts": True, "ref": d["reference"], "load": {"per": 1, "rate": d["rate"]}, "limits": [],
           "rounds": {"ringmill": clean(0), d["reference"]: clean(1)}}
    return {"suite": "pairs", "environment": d["environment"], "rounds": len(d["pairs"]), "results": [row]}
