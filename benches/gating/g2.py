"""G2: two servers end to end, paired in time, judged by the sequential rule of gating/sequential.py.

    a restart:  start A and B afresh, warm both up, then four blocks
    a block:    ABBA or BAAB by a coin, slices of 1 s; the arm that is not asked is stopped (SIGSTOP)
    a slice:    thaw, let 0.2 s pass, measure 1 s of open loop at 40 % of what A can do

A block in which the machine was disturbed is void as a whole. Two figures are judged, each by the whole rule: the
tail of latency (p95, or p90 where the generator tells no p95) and the server's CPU time a request. The change
fails if either does, and passes if both do. p99 and p999 are reported.
"""
import contextlib
import json
import math
import os
import random
import tempfile
import time

from gating import sequential, serving, tree

BLOCKS = 4
WARM_UP_S = 3
# At half, on two virtual cores, the tail of the same server twice differed by up to 14 % between restarts.
SHARE_OF_KNEE = 0.4
# Control channels: shares of a slice, except those that end in their unit.
LIMITS = {"steal": 0.02, "foreign": 0.05, "throttled": 0.0, "generator_delay": 0.02, "send_lag_p99_us": 100, "generator": 0.5}
JUDGED = {"tail": "latency tail", "cpu_us": "CPU a request"}
REPORTED = ("p50", "p99", "p999")
CODES = {sequential.PASS: 0, sequential.FAIL: 1, sequential.INCONCLUSIVE: 3, sequential.UNFIT: 4}
HARD_LIMIT_RESTARTS = 2 * sequential.LOOKS[-1]


class Trial:
    """All restarts so far."""

    def __init__(self, programs, generator, rate, options, say=print):
        self.programs, self.generator, self.rate, self.options, self.say = programs, generator, rate, options, say
        self.rng = random.Random(options.seed)
        self.values = {name: [] for name in (*JUDGED, *REPORTED)}
        self.blocks, self.void, self.reasons, self.restarts = 0, 0, {}, []

    def restart(self, scratch):
        """One fresh pair; keeps its values if any block of it was sound."""
        with contextlib.ExitStack() as running:
            servers = {}
            for arm, program in self.programs.items():
                servers[arm] = serving.Server(program, scratch)
                running.callback(servers[arm].stop)
                servers[arm].freeze()
            for server in servers.values():
                self.slice(server, WARM_UP_S)
            ratios = {name: [] for name in self.values}
            for _ in range(BLOCKS):
                self.block(servers, ratios)
        kept = {name: sequential.restart_value(found) for name, found in ratios.items()}
        for name, value in kept.items():
            if value is not None:
                self.values[name].append(value)
        self.restarts.append(kept)
        return kept

    def slice(self, server, seconds=1.0):
        server.thaw()
        try:
            return self.generator.slice(server, self.rate, seconds, seed=self.options.seed or 1)
        finally:
            server.freeze()

    def block(self, servers, ratios):
        slices = [(arm, self.slice(servers[arm])) for arm in sequential.block_order(self.rng)]
        self.blocks += 1
        for _, figures in slices:
            why = sequential.void_reason(figures["controls"], LIMITS)
            if why:
                self.void += 1
                name = why.split()[0]
                self.reasons[name] = self.reasons.get(name, 0) + 1
                return
        for name, found in ratios.items():
            if all(figures[name] for _, figures in slices):
                found.append(sequential.block_ratio([(arm, figures[name]) for arm, figures in slices]))

    def verdict(self):
        """The verdict, or None to go on."""
        if sequential.unfit(self.void, self.blocks) or len(self.restarts) >= HARD_LIMIT_RESTARTS:
            return sequential.UNFIT
        return joined([sequential.decide(self.values[name])[0] for name in JUDGED])

    def run(self):
        while True:
            with tempfile.TemporaryDirectory(prefix="ringmill-g2-") as scratch:
                kept = self.restart(scratch)
            self.say("  restart %2d: %s; void blocks %d of %d" % (len(self.restarts), ", ".join(
                "%s %s" % (what, "void" if kept[name] is None else sequential.percent(kept[name])) for name, what in JUDGED.items()),
                self.void, self.blocks))
            verdict = self.verdict()
            if verdict:
                return verdict


def joined(verdicts):
    """One verdict of several figures: any failure fails, all must pass."""
    if sequential.FAIL in verdicts:
        return sequential.FAIL
    if None in verdicts:
        return None
    return sequential.INCONCLUSIVE if sequential.INCONCLUSIVE in verdicts else sequential.PASS


def summary(trial):
    """[(figure, restarts used, estimate, lower, upper)] as log ratios of the judged, with the interval of the reported."""
    rows = []
    for name, what in JUDGED.items():
        values = trial.values[name]
        if values:
            used = sequential.decide(values)[1] or len(values)
            rows.append((what, used, *sequential.look(values[:used])[1:]))
    for name in REPORTED:
        values = trial.values[name]
        if values:
            rows.append((name, len(values), sequential.estimate(values), *sequential.bootstrap(values)))
    return rows


def show(trial, verdict):
    print("| figure | restarts | new / old | at least | at most |\n|-|-:|-:|-:|-:|")
    for what, used, *logs in summary(trial):
        print("| %s | %d | %s | %s | %s |" % (what, used, *map(sequential.percent, logs)))
    why = {
        sequential.PASS: "surely not 10 % worse",
        sequential.FAIL: "surely worse, and by more than 5 % as far as one can tell",
        sequential.INCONCLUSIVE: "%d restarts do not tell; a person must look" % sequential.LOOKS[-1],
        sequential.UNFIT: "the machine was disturbed in %d of %d blocks (%s): run it where nothing else runs"
                          % (trial.void, trial.blocks, ", ".join("%s %d" % r for r in sorted(trial.reasons.items()))),
    }[verdict]
    print("g2: %s  %s" % (verdict, why))


def knee(program, generator, options):
    """Requests a second that A completes in a closed loop: the median of three slices."""
    with tempfile.TemporaryDirectory(prefix="ringmill-g2-") as scratch:
        server = serving.Server(program, scratch)
        try:
            return sorted(generator.slice(server, 0, 1.0)["per_s"] for _ in range(3))[1]
        finally:
            server.stop()


def generator_of(options, scratch, head):
    """`--generator`, or `lg` of the yardsticks, or the new server's own `load`."""
    folder = os.environ.get("RINGMILL_YARDSTICK")
    command = options.generator or (os.path.join(folder, "lg") if folder else head)
    return serving.Generator(command, tree.payload(os.path.join(scratch, "events.ndjson")))


def program_of(name, to):
    """A server binary: the path of one, or a commit to build."""
    if os.path.isfile(name):
        return os.path.abspath(name)
    if name == "TREE":
        return tree.build(tree.ROOT, "ringmill", "ringmill", to, target_name="gate-timed")
    commit = tree.commit_of(name)
    if commit is None:
        raise tree.Unusable("%s is neither a server binary nor a commit of this clone (nor TREE, this checkout)" % name)
    with tree.worktree(commit) as at:
        return tree.build(at, "ringmill", "ringmill", to, target_name="gate-timed")


def trial_of(programs, options, scratch):
    generator = generator_of(options, scratch, programs["B"])
    # What the build left to be written would be written during the first restarts, whose tail then says nothing.
    os.sync()
    rate = options.rate or round(SHARE_OF_KNEE * knee(programs["A"], generator, options), -3)
    print("open loop of %d requests a second from %s" % (rate, os.path.basename(generator.command)))
    return Trial(programs, generator, rate, options)


def record(trial, verdict, names, took_s):
    """One JSON a run, beside those of benches/run.py."""
    folder = os.path.join(tree.BENCHES, "results")
    name = os.path.join(folder, time.strftime("%Y-%m-%dT%H%M%SZ-gate.json", time.gmtime()))
    finite = lambda x: x if not isinstance(x, float) or math.isfinite(x) else None
    with open(name, "w") as f:
        json.dump({"gate": "g2", "arms": names, "verdict": verdict, "rate_per_s": trial.rate, "seed": trial.options.seed, "took_s": round(took_s),
                   "generator": os.path.basename(trial.generator.command), "rustc": tree.run(["rustc", "-V"]), "blocks": trial.blocks,
                   "void": trial.void, "void_reasons": trial.reasons, "restarts": trial.restarts, "limits": LIMITS,
                   "summary": [[finite(x) for x in row] for row in summary(trial)]}, f, indent=1)
        f.write("\n")
    print("recorded in %s" % os.path.relpath(name, tree.ROOT))


def main(args):
    """0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 UNFIT."""
    with tempfile.TemporaryDirectory(prefix="ringmill-g2-") as scratch:
        programs = {arm: program_of(name, os.path.join(scratch, arm)) for arm, name in (("A", args.old), ("B", args.new))}
        began = time.monotonic()
        trial = trial_of(programs, args, scratch)
        verdict = trial.run()
        show(trial, verdict)
        if args.record:
            names = {"A": args.old, "B": args.new}
            record(trial, verdict, {arm: tree.commit_of(n) or os.path.basename(n) for arm, n in names.items()}, time.monotonic() - began)
    return CODES[verdict]
