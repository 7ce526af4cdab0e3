"""G3: proves the gates. The same twice must not fail; a planted busy loop of +10 % must.

The loop is planted by an edit of a temporary checkout and is never part of the product: for the counts and the
micro benches empty rounds in `Engine::receive`, for the server a wait in the driver, in front of that call, which
lasts a tenth of the CPU time that a request costs here.
"""
import os
import tempfile
import time

from gating import callgrind, g0, g1, g2, sequential, serving, tree

SHARE = 0.10
ENGINE = ("src/core/engine/mod.rs", "    pub fn receive(&mut self, id: ConnId, data: &mut [u8]) {\n")
DRIVER = ("src/shard/driver/uring/conns.rs", "    fn deliver(&mut self, id: ConnId, buffer: u16, len: usize) {\n")
# What a round of the empty loop costs: a load, a store, an addition, a comparison with its jump, about.
LOOP_INSTRUCTIONS = 4
# The stage that is slowed down, and how many of its units `receive` is called for at once: 16 requests in one piece.
STAGE, UNITS_A_CALL = "request", 16


def plant_rounds(rounds):
    """An edit that adds so many empty rounds to each call of `Engine::receive`."""
    path, anchor = ENGINE
    return lambda at: tree.edit_file(at, path, anchor, "        for n in 0..%du64 {\n            core::hint::black_box(n);\n        }\n" % rounds)


def plant_wait(ns):
    """An edit that makes the driver spin so many nanoseconds for each received piece."""
    path, anchor = DRIVER
    now = "crate::core::memory::Clock::now_ns(&self.clock)"
    text = "        let until_ns = %s + %d;\n        while %s < until_ns {}\n" % (now, ns, now)
    return lambda at: tree.edit_file(at, path, anchor, text)


def rounds_for(figures):
    """Rounds that add a tenth to the instructions of the stage."""
    return max(1, round(SHARE * figures[STAGE]["instructions"] * UNITS_A_CALL / LOOP_INSTRUCTIONS))


class Proof:
    """Collects what the gates said against what they should have."""

    def __init__(self):
        self.wrong = []

    def expect(self, what, said, wanted):
        sound = said == wanted
        print("g3: %-44s %-13s %s" % (what, said, "as it should" if sound else "BUT SHOULD BE " + wanted))
        if not sound:
            self.wrong.append(what)


def word(fails):
    return sequential.FAIL if fails else sequential.PASS


def prove_counts(proof, scratch, head):
    twice = [g0.measure_commit(scratch, head, name=name) for name in ("same", "sama")]
    proof.expect("g0, the same built twice", word(callgrind.compare(*twice)), sequential.PASS)
    exact = all(twice[0][s][key] == twice[1][s][key] for s in twice[0] for key in ("instructions", "allocations", "copied"))
    print("    counts of both are %s" % ("identical" if exact else "not identical, but within the limits"))
    slow = g0.measure_commit(scratch, head, plant_rounds(rounds_for(twice[0])), "slow")
    findings = [f for f in callgrind.compare(twice[0], slow) if f.kind == "fails"]
    g0.say(findings)
    proof.expect("g0, +10 % instructions planted", word(any(f.stage == STAGE for f in findings)), sequential.FAIL)
    return rounds_for(twice[0])


def prove_micro(proof, scratch, head, rounds, args):
    base = tree.build_stages_of(head, os.path.join(scratch, "micro-same"), target_name="gate-timed")
    # An empty round takes about a nanosecond or less, a request some hundreds: three times the count is +10 % or more.
    slow = tree.build_stages_of(head, os.path.join(scratch, "micro-slow"), target_name="gate-timed", edit=plant_rounds(3 * rounds))
    failed = g1.report(g1.compare(scratch, {"A": base, "B": base}, args.core, args.seed))
    proof.expect("g1, the same program twice", word(failed), sequential.PASS)
    failed = g1.report(g1.compare(scratch, {"A": base, "B": slow}, args.core, args.seed))
    proof.expect("g1, a busy loop planted", word(STAGE in failed), sequential.FAIL)


def cpu_a_request(program, generator, rate):
    """Nanoseconds at the rate of the trial: the median of three slices."""
    with tempfile.TemporaryDirectory(prefix="ringmill-g3-") as scratch:
        server = serving.Server(program, scratch)
        try:
            return 1000 * sorted(generator.slice(server, rate, 1.0)["cpu_us"] for _ in range(3))[1]
        finally:
            server.stop()


def judge(trial, names):
    began = time.monotonic()
    verdict = trial.run()
    g2.show(trial, verdict)
    g2.record(trial, verdict, names, time.monotonic() - began)
    return verdict


def prove_served(proof, scratch, head, args):
    base = g2.program_of(head, os.path.join(scratch, "server-same"))
    trial = g2.trial_of({"A": base, "B": base}, args, scratch)
    args.rate = trial.rate
    verdict = judge(trial, {"A": head, "B": head})
    proof.expect("g2, the same server twice", verdict, sequential.PASS)
    ns = round(SHARE * cpu_a_request(base, trial.generator, trial.rate))
    with tree.worktree(head) as at:
        plant_wait(ns)(at)
        slow = tree.build(at, "ringmill", "ringmill", os.path.join(scratch, "server-slow"), target_name="gate-timed")
    print("planted: %d ns a request" % ns)
    trial = g2.trial_of({"A": base, "B": slow}, args, scratch)
    verdict = judge(trial, {"A": head, "B": "%s and %d ns a request" % (head, ns)})
    proof.expect("g2, +10 % of a request's CPU planted", verdict, sequential.FAIL)


def main(args):
    """0: every gate said what it should."""
    head, proof, only = tree.commit_of("HEAD"), Proof(), args.only or ["g0", "g1", "g2"]
    if tree.is_dirty():
        print("what is not committed takes no part: the proof is of %s" % head[:10])
    with tempfile.TemporaryDirectory(prefix="ringmill-g3-") as scratch:
        rounds = None
        if "g0" in only:
            g0.need_tools()
            rounds = prove_counts(proof, scratch, head)
        if "g1" in only:
            rounds = rounds or rounds_for((g0.load_baseline() or {"stages": g0.measure_commit(scratch, head)})["stages"])
            prove_micro(proof, scratch, head, rounds, args)
        if "g2" in only:
            prove_served(proof, scratch, head, args)
    print("g3: %s" % ("FAIL  the gate cannot be trusted here: " + "; ".join(proof.wrong) if proof.wrong else "PASS"))
    return 1 if proof.wrong else 0
