"""G1: the stages of benches/micro, this tree against a base commit, in turn on one core.

Both programs are up at once and wait for a line each; slices of some milliseconds alternate ABBA, and a stage's
figure in a round is the median of the paired ratios. Each round starts both programs afresh, because a process
keeps the luck of its memory layout. A stage fails only if it is more than 5 % slower in all three rounds.
"""
import math
import os
import random
import statistics
import subprocess
import tempfile

from gating import sequential, tree

LIMIT = 1.05
ROUNDS = 3
SLICE_NS = 3_000_000
BLOCKS = 30


class Stages:
    """A harness that waits for work."""

    def __init__(self, program, events, core):
        self.proc = subprocess.Popen(["taskset", "-c", str(core), program, "time", events], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True)

    def time(self, stage, runs):
        """Nanoseconds a unit."""
        self.proc.stdin.write("%s %d\n" % (stage, runs))
        self.proc.stdin.flush()
        line = self.proc.stdout.readline()
        if not line:
            raise tree.Unusable("the harness ended at stage %s" % stage)
        ns, units = map(int, line.split())
        return ns / units, ns

    def close(self):
        self.proc.stdin.close()
        self.proc.wait(10)
        self.proc.stdout.close()


def stages_of(program):
    return [line.split("\t")[0] for line in tree.run([program, "list"]).splitlines()]


def measure_round(programs, events, stages, rng, core):
    """{stage: (ratio, base ns)} of one fresh pair."""
    pair = {arm: Stages(program, events, core) for arm, program in programs.items()}
    try:
        return {stage: measure_stage(pair, stage, rng) for stage in stages}
    finally:
        for side in pair.values():
            side.close()


def measure_stage(pair, stage, rng):
    for side in pair.values():
        side.time(stage, 10)
    runs = max(1, round(10 * SLICE_NS / max(1, pair["A"].time(stage, 10)[1])))
    ratios, base = [], []
    for _ in range(BLOCKS):
        slices = [(arm, pair[arm].time(stage, runs)[0]) for arm in sequential.block_order(rng)]
        ratios.append(sequential.block_ratio(slices))
        base += [ns for arm, ns in slices if arm == "A"]
    return math.exp(statistics.median(ratios)), statistics.median(base)


def compare(scratch, programs, core=0, seed=None):
    """{stage: ([ratio of each round], base ns)}"""
    events = tree.payload(os.path.join(scratch, "events.ndjson"))
    stages = [s for s in stages_of(programs["B"]) if s in stages_of(programs["A"])]
    rng = random.Random(seed)
    rounds = [measure_round(programs, events, stages, rng, core) for _ in range(ROUNDS)]
    return {s: ([r[s][0] for r in rounds], statistics.median(r[s][1] for r in rounds)) for s in stages}


def report(found):
    """Prints the table; the stages that fail."""
    failed = [s for s, (ratios, _) in found.items() if sequential.three_of_three(ratios, LIMIT)]
    print("| stage | base ns | head / base in three rounds | |\n|-|-:|-:|-|")
    for stage, (ratios, ns) in found.items():
        print("| %s | %.1f | %s | %s |" % (stage, ns, " ".join("%.3f" % r for r in ratios), "FAIL" if stage in failed else ""))
    return failed


def main(args):
    """0: within the limit. 1: a stage is slower in every round."""
    base = tree.commit_of(args.base or tree.usual_base())
    if base is None:
        raise tree.Unusable("this clone has no commit %s" % args.base)
    with tempfile.TemporaryDirectory(prefix="ringmill-g1-") as scratch:
        programs = {"A": tree.build_stages_of(base, os.path.join(scratch, "base"), target_name="gate-timed"),
                    "B": tree.build(tree.ROOT, "ringmill-micro", "stages", os.path.join(scratch, "head"), target_name="gate-timed")}
        found = compare(scratch, programs, args.core, args.seed)
    print("base %s against %s%s" % (base[:10], tree.commit_of("HEAD")[:10], " and what is not committed" if tree.is_dirty() else ""))
    failed = report(found)
    print("g1: %s" % ("FAIL  more than 5 %% slower in 3 of 3: %s" % ", ".join(failed) if failed else "PASS"))
    return 1 if failed else 0
