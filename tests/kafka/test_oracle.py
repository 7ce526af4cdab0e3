"""The matrix's judge finds every lie it is told: run by `python3 -m unittest discover -s tests/kafka`."""
import random
import unittest

from faults import oracle
from faults.oracle import ACKED, FAILED, OPEN, SHED, Record, Request, judge, longest_gap


def run(seed, connections=4, requests=30, partitions=3):
    """Requests of every outcome and logs in which every promise is kept."""
    chance = random.Random(seed)
    asked, logs, sequence = [], [[[] for _ in range(partitions)] for _ in range(2)], 0
    for log in logs:
        for _ in range(requests):
            connection = chance.randrange(connections)
            first = sum(r.count for r in asked if r.connection == connection)
            request = Request(connection, first, chance.randrange(1, 6), outcome=chance.choice([ACKED, FAILED, SHED, OPEN]))
            there = set()
            if request.outcome == ACKED:
                request.refused = frozenset(p for p in range(request.count) if chance.random() < 0.1)
                there = set(range(request.count)) - request.refused
            elif request.outcome == FAILED:
                request.written = chance.randrange(request.count + 1)
                request.possibly = chance.randrange(request.count - request.written + 1)
                request.not_written = request.count - request.written - request.possibly
                there = set(range(request.written + chance.randrange(request.possibly + 1)))
            elif request.outcome == OPEN:
                there = set(range(chance.randrange(request.count + 1)))
            for place in sorted(there):
                partition = chance.randrange(partitions)
                log[partition].append(Record(partition, connection, first + place, connection % 2, sequence))
                sequence += 1
            asked.append(request)
    return asked, [[record for partition in log for record in partition] for log in logs]


class Honest(unittest.TestCase):
    def test_what_keeps_every_promise_is_not_blamed(self):
        for seed in range(200):
            verdict = judge(*run(seed))
            self.assertEqual(verdict.faults(), [], f"seed {seed}")
            self.assertEqual(verdict.sent, verdict.acked + verdict.refused + verdict.not_written + verdict.possibly
                             + verdict.unanswered, f"seed {seed}")


class Planted(unittest.TestCase):
    """One lie in a true run: exactly that fault is found, with its count, and nothing else is blamed."""

    def only(self, fault, count, asked, logs, seed):
        verdict = judge(asked, logs)
        self.assertEqual({name: getattr(verdict, name) for name in oracle.FAULTS if getattr(verdict, name)},
                         {fault: count}, f"seed {seed}")
        self.assertEqual(len(verdict.faults()), 1)
        self.assertTrue(verdict.examples)

    def each(self):
        for seed in range(100):
            asked, logs = run(seed)
            events = {(r.connection, n): r for r in asked for n in r.numbers()}
            yield seed, random.Random(seed), asked, logs, events

    def place(self, chance, logs, wanted):
        """A record that satisfies `wanted`, as (log, index)."""
        return chance.choice([(log, at) for log in logs for at, record in enumerate(log) if wanted(record)])

    def test_a_loss(self):
        for seed, chance, asked, logs, events in self.each():
            log, at = self.place(chance, logs, lambda r: events[r.connection, r.number].outcome == ACKED)
            del log[at]
            self.only("lost", 1, asked, logs, seed)

    def test_a_loss_among_those_counted_as_written(self):
        for seed, chance, asked, logs, events in self.each():
            exact = lambda r: events[r.connection, r.number].outcome == FAILED and not events[r.connection, r.number].possibly
            if not any(map(exact, logs[0] + logs[1])):
                continue
            log, at = self.place(chance, logs, exact)
            del log[at]
            self.only("lost", 1, asked, logs, seed)

    def test_a_duplicate_near_or_in_the_other_log(self):
        for seed, chance, asked, logs, _ in self.each():
            log, at = self.place(chance, logs, lambda r: True)
            # Behind the first of the two, so that the order of the others holds.
            if log is logs[0] and chance.random() < 0.5:
                logs[1].insert(chance.randrange(len(logs[1]) + 1), log[at])
            else:
                log.insert(chance.randrange(at + 1, len(log) + 1), log[at])
            self.only("duplicated", 1, asked, logs, seed)

    def test_two_that_changed_places(self):
        for seed, chance, asked, logs, _ in self.each():
            for log in logs:
                near = [at for at in range(len(log) - 1) if log[at].partition == log[at + 1].partition
                        and log[at].shard == log[at + 1].shard]
                if near:
                    at = chance.choice(near)
                    log[at], log[at + 1] = log[at + 1], log[at]
                    self.only("reordered", 1, asked, logs, seed)
                    break

    def test_a_connections_own_order_without_the_shards(self):
        asked = [Request(0, 0, 2, ACKED)]
        logs = [[Record(0, 0, 1, 0, 5), Record(0, 0, 0, 0, 6)]]
        self.only("reordered", 1, asked, logs, 0)
        asked = [Request(0, 0, 1, ACKED), Request(1, 0, 1, ACKED)]
        logs = [[Record(0, 0, 0, 0, 6), Record(0, 1, 0, 0, 5)]]
        self.only("reordered", 1, asked, logs, 0)
        # Different partitions, different shards, and different logs are not compared.
        free = [[Record(0, 0, 1, 0, 6), Record(1, 0, 0, 0, 5)]], [[Record(0, 0, 0, 0, 9)], [Record(0, 0, 1, 0, 3)]]
        for logs in free:
            self.assertEqual(judge([Request(0, 0, 2, ACKED)], logs).faults(), [])

    def test_a_shed_event_that_is_there(self):
        for seed, chance, asked, logs, _ in self.each():
            shed = [r for r in asked if r.outcome == SHED]
            request = chance.choice(shed)
            logs[1].append(Record(99, request.connection, request.first, 99, 0))
            self.only("denied", 1, asked, logs, seed)

    def test_a_refused_event_that_is_there(self):
        asked = [Request(0, 0, 3, ACKED, refused=frozenset([1]))]
        logs = [[Record(0, 0, n, 0, n) for n in range(3)]]
        self.only("denied", 1, asked, logs, 0)

    def test_more_there_than_the_reply_leaves_open(self):
        asked = [Request(0, 0, 5, FAILED, written=1, not_written=3, possibly=1)]
        logs = [[Record(0, 0, n, 0, n) for n in range(3)]]
        self.only("denied", 1, asked, logs, 0)

    def test_counts_that_do_not_add_up(self):
        self.only("miscounted", 1, [Request(0, 0, 5, FAILED, not_written=4)], [[]], 0)

    def test_damage_strangers_and_what_is_no_event(self):
        for seed, chance, asked, logs, _ in self.each():
            log, at = self.place(chance, logs, lambda r: True)
            log[at].intact = False
            self.only("damaged", 1, asked, logs, seed)
            log[at].intact = True
            logs[0].append(Record(99, 77, 0, 99, 0))
            self.only("strangers", 1, asked, logs, seed)
            logs[0][-1] = None
            self.only("strangers", 1, asked, logs, seed)


class Gaps(unittest.TestCase):
    def test_the_longest_silence_under_load(self):
        self.assertEqual(longest_gap([], []), 0)
        self.assertEqual(longest_gap([], [(10, 14)]), 4)
        self.assertEqual(longest_gap([11, 12, 13.5], [(10, 14)]), 1.5)
        self.assertEqual(longest_gap([1, 2, 9, 10], [(0, 3), (8, 10)]), 1)
        self.assertEqual(longest_gap([10.5, 10.6], [(10, 14)]), 14 - 10.6)


if __name__ == "__main__":
    unittest.main()
