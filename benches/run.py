#!/usr/bin/env python3
"""ringmill from outside: server on one core, load generator on another, against yardsticks in the same run.

    benches/run build          the server and our reference servers (benches/yardstick), as releases
    benches/run SUITE...       one or more of: smoke single pipelined batch batch-durable scan open-null
                               open-durable pairs writeup rss chaos generators all, and those of the Kafka sink
                               kafka-encoder kafka-cpu kafka-paced kafka-http kafka-latency kafka-batch kafka-rss
    benches/run show FILE...   print the tables of earlier results again

Servers of a suite take turns in random order, each round with a fresh process; a run starts when the machine
is quiet and is repeated when generator or server had to wait for a core. What counts is the median of the
per-round ratios to the suite's reference. Each run writes benches/results/TIME-SUITE.json with every
sample and the environment, and prints a Markdown table.

Reference servers are those of the folder that RINGMILL_YARDSTICK names, else our own once they are built. The load
comes from `lg` in that folder, or from `ringmill load`, or from a slow stand-in; see --generator.
Standard library only.
"""
import argparse
import json
import os
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import payload  # noqa: E402
from ringbench import chaos, generators, kafka, machine, memory, results, sampling, servers, suites, tables, tools  # noqa: E402


def parser():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("suite", nargs="+", help="suite names, or `build`, or `show` and result files")
    default_bin = os.path.join(machine.target_dir(), "release", "ringmill")
    p.add_argument("--bin", default=default_bin, help="the built server (default: cargo's release target)")
    p.add_argument("--server-cmd", help="another server in ringmill's place; {port} and {data} are filled in")
    p.add_argument("--path", default="/v1/events", help="ingest path of --server-cmd")
    p.add_argument("--driver", help="pass --driver to ringmill")
    p.add_argument("--both-drivers", action="store_true", help="measure the glommio driver beside")
    p.add_argument("--aa", action="store_true", help="measure ringmill twice: how far equals lie apart")
    p.add_argument("--generator", choices=generators.NAMES, default="auto")
    p.add_argument("--load-bin", help="the binary whose `load` generates (default: --bin)")
    p.add_argument("--rounds", type=int, default=6, help="below six no comparison can tell anything apart")
    p.add_argument("--secs", type=float, default=4.0)
    p.add_argument("--warm", type=float, default=1.0)
    p.add_argument("--rate", type=float, help="requests/s of `writeup` (default: what the write-up says)")
    p.add_argument("--tries", type=int, default=3, help="runs at most for one clean sample")
    p.add_argument("--quiet", type=float, default=30.0, help="seconds at most to wait for a quiet machine")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--server-cpus", default="0", help="taskset list of every server; the generator pins itself to core 1")
    p.add_argument("--data", default=os.environ.get("TMPDIR", "/var/tmp"), help="folder on a real disk for segments")
    p.add_argument("--results", default=os.path.join(machine.HERE, "results"))
    p.add_argument("--pairs", type=int, default=30)
    p.add_argument("--burst-secs", type=float, default=0.8)
    p.add_argument("--rss-events", type=float, default=20e6)
    p.add_argument("--rss-sinks", default="null,segments", help="comma-separated")
    p.add_argument("--rss-secs-max", type=float, default=400.0)
    p.add_argument("--chaos-throttle", type=float, default=0.05, help="share of the CPU that is taken away")
    p.add_argument("--chaos-secs", type=float, default=60.0)
    p.add_argument("--chaos-rounds", type=int, default=3)
    p.add_argument("--chaos-probe-secs", type=float, default=4.0)
    p.add_argument("--chaos-start", type=float, default=20e3, help="first rate tried, a second")
    p.add_argument("--chaos-connections", type=int, default=512)
    p.add_argument("--brokers-cpus", default="1", help="taskset list of the Kafka brokers")
    p.add_argument("--kafka-rate", type=float, default=100e3, help="events/s of `kafka-http` and `kafka-paced`")
    p.add_argument("--tools-parts", default="closed,pipelined,open,lag,stall,memory", help="parts of `generators`")
    p.add_argument("--tools-requests", type=float, default=tools.MEMORY_REQUESTS)
    return p


def cpu_list(cpus):
    """The cores that a taskset list names."""
    spans = (part.split("-") for part in cpus.split(","))
    return [core for span in spans for core in range(int(span[0]), int(span[-1]) + 1)]


def measure(a, name):
    """(results, how many things are wrong)"""
    if name == "rss":
        found = [memory.run(a, sink) for sink in a.rss_sinks.split(",")]
        print("\n\n".join(map(tables.of, found)), flush=True)
        return found, sum(not r[met] for r in found for met in ("met_events", "met_plan", "met_slope"))
    if name in kafka.NAMES:
        found = kafka.run(a, name)
        print("\n\n".join(map(tables.of, found)), flush=True)
        samples = [d for r in found for rows in r.get("rounds", {}).values() for d in rows]
        return found, sum(1 for d in samples if d is None or d["bad"] or d["other"] or d["exit"])
    if name == "generators":
        found = tools.run(a)
        print("\n\n".join(map(tables.of, found)), flush=True)
        return found, 0
    if name == "chaos":
        found = [chaos.run(a)]
        samples = [d for at in found[0]["at"] for rows in at["rounds"].values() for d in rows]
        missed = sum(1 for d in samples if d is None or d["exit"])
    else:
        measured, rows = (sampling.run_bursts, suites.pairs) if name == "pairs" else (sampling.run_suite, suites.ROUNDS[name])
        found = [measured(a, label, suite) for label, suite in rows(a)]
        samples = [d for r in found for rows in r["rounds"].values() for d in rows]
        missed = sum(1 for d in samples if d is None or d["bad"] or d["other"] or d["exit"])
    print("\n\n".join(map(tables.of, found)), flush=True)
    return found, missed


def save(a, name, found, env):
    os.makedirs(a.results, exist_ok=True)
    path = os.path.join(a.results, time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + name + ".json")
    env = {**env, "after": machine.pressures()}
    with open(path, "w") as f:
        json.dump({"suite": name, "environment": env, "secs": a.secs, "warm": a.warm, "rounds": a.rounds, "results": found}, f, indent=1)
        f.write("\n")
    print("\nwritten to %s" % os.path.relpath(path), file=sys.stderr, flush=True)


def show(paths):
    for path in paths:
        try:
            print("\n\n".join(map(tables.of, results.read(path)["results"])), "\n")
        except results.Unreadable as error:
            sys.exit(str(error))


def checked(p, a):
    """The suites wanted, once everything that they need is there."""
    names = [*suites.NAMES, *kafka.NAMES]
    wanted = [n for n in suites.NAMES if n != "smoke"] if a.suite == ["all"] else a.suite
    if unknown := [n for n in wanted if n not in names]:
        p.error("no suite %s; there are %s, and all" % (", ".join(unknown), ", ".join(names)))
    if not a.server_cmd and not os.access(a.bin, os.X_OK):
        p.error("no server at %s; build it by `benches/run build` or name it with --bin" % a.bin)
    a.load_bin = a.load_bin or a.bin
    a.server_cpu_list = cpu_list(a.server_cpus)
    a.watch = sorted(set(range(min(2, os.cpu_count()))))
    if not servers.reference("raw"):
        print("no reference servers: build ours by `benches/run build`, or set RINGMILL_YARDSTICK; their columns "
              "are left out and ratios to them not measured", file=sys.stderr)
    return wanted


def main():
    p = parser()
    a = p.parse_args()
    if a.suite[0] == "show":
        return show(a.suite[1:])
    if a.suite == ["build"]:
        return servers.build()
    wanted, asked, missed = checked(p, a), a.generator, 0
    with tempfile.TemporaryDirectory(prefix="ringmill-bench-") as made:
        a.lines, a.spoiled = os.path.join(made, "mix.ndjson"), os.path.join(made, "spoiled.ndjson")
        with open(a.lines, "wb") as f:
            payload.write(f, "mix", a.seed, size=1 << 20)
        with open(a.spoiled, "wb") as f:
            payload.write(f, "mix", a.seed, size=1 << 20, malformed=0.2)
        for name in wanted:
            a.generator = asked
            a.generator = generators.choose(a, suites.GENERATORS.get(name, ("load",) if name in kafka.NAMES else suites.DEFAULT_GENERATORS))
            env = machine.environment(a)
            found, wrong = measure(a, name)
            missed += wrong
            save(a, name, found, env)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
