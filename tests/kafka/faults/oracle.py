"""The judge: what was sent and said about it against what the logs hold. Pure, so that it can be proven by lies.

A request is a row of events of one connection, sent once. Its reply promises something of them:

- acknowledged: each is in a log;
- failed with counts: so many are, so many are not, of so many nobody knows;
- shed: none is; refused: those named are not, the others are;
- no reply (the server was killed): nothing is promised.

A log is what a consumer read of a topic; a topic that was emptied in between gives one log before and one after.
"""
from collections import defaultdict
from dataclasses import dataclass, field

ACKED, FAILED, SHED, OPEN = "acked", "failed", "shed", "open"
# Each of these must be nought, whatever broke. The reasons say what a number above nought means.
FAULTS = {
    "lost": "acknowledged and in no log",
    "duplicated": "in a log more than once",
    "reordered": "behind a later one of its shard, or of its connection, in one partition",
    "denied": "said to be in no log, and found there",
    "miscounted": "events of failed requests beyond or below what the reply counted as written",
    "damaged": "other bytes than were sent",
    "strangers": "never sent",
}


@dataclass
class Request:
    """Events `first` to `first + count - 1` of a connection, and what the reply said."""
    connection: int
    first: int
    count: int
    outcome: str = OPEN
    written: int = 0
    not_written: int = 0
    possibly: int = 0
    refused: frozenset = frozenset()  # Places in the body, from 0.
    status: int = 0
    error: str = ""
    reason: str = ""

    def numbers(self):
        """The events' numbers within the connection."""
        return range(self.first, self.first + self.count)


@dataclass
class Record:
    """What a consumer read: in the order of offsets within each partition."""
    partition: int
    connection: int
    number: int
    shard: int
    sequence: int
    intact: bool = True


@dataclass
class Verdict:
    """Counts of events. Those of FAULTS must be nought."""
    sent: int = 0
    acked: int = 0
    refused: int = 0
    not_written: int = 0
    possibly: int = 0
    unanswered: int = 0
    stored: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    denied: int = 0
    miscounted: int = 0
    damaged: int = 0
    strangers: int = 0
    examples: list = field(default_factory=list)

    def faults(self):
        """What is wrong, in words; empty when everything holds."""
        return [f"{getattr(self, name)} {name}: {why}" for name, why in FAULTS.items() if getattr(self, name)]

    def note(self, what, count=1, **example):
        """Counts a fault and keeps the first few as examples."""
        setattr(self, what, getattr(self, what) + count)
        if len(self.examples) < 20:
            self.examples.append({"fault": what, **example})


def judge(requests, logs):
    """The verdict over requests and logs, each log a list of Records (None for what was no event of ours)."""
    verdict = Verdict()
    found = _read(verdict, logs)
    known = set()
    for request in requests:
        known.update((request.connection, number) for number in request.numbers())
        _compare(verdict, request, found)
    for event, times in found.items():
        if event not in known:
            verdict.note("strangers", times, event=event)
    return verdict


def _read(verdict, logs):
    """How often each event is there; notes duplicates, damage and order."""
    found = defaultdict(int)
    for log in logs:
        newest = {}
        for record in log:
            verdict.stored += 1
            if record is None:
                verdict.note("strangers", event="no event of ours")
                continue
            event = (record.connection, record.number)
            found[event] += 1
            if found[event] > 1:
                verdict.note("duplicated", event=event, partition=record.partition)
                continue
            if not record.intact:
                verdict.note("damaged", event=event, partition=record.partition)
            _order(verdict, newest, record)
    return found


def _order(verdict, newest, record):
    """Sequence numbers rise per (shard, partition), numbers per (connection, partition)."""
    behind = False
    for key, value in ((("shard", record.shard, record.partition), record.sequence),
                       (("connection", record.connection, record.partition), record.number)):
        behind |= value <= newest.get(key, -1)
        newest[key] = max(value, newest.get(key, -1))
    if behind:
        verdict.note("reordered", event=(record.connection, record.number), partition=record.partition)


def _compare(verdict, request, found):
    """One request's promise with what is there."""
    verdict.sent += request.count
    present = [number for number in request.numbers() if (request.connection, number) in found]
    refused = {request.first + place for place in request.refused}
    verdict.refused += len(refused)
    for number in refused.intersection(present):
        verdict.note("denied", event=(request.connection, number))
    there = set(present) - refused
    if request.outcome == ACKED:
        verdict.acked += request.count - len(refused)
        for number in set(request.numbers()) - refused - there:
            verdict.note("lost", event=(request.connection, number), status=request.status)
    elif request.outcome == SHED:
        verdict.not_written += request.count
        for number in there:
            verdict.note("denied", event=(request.connection, number), error=request.error)
    elif request.outcome == FAILED:
        _counts(verdict, request, len(there))
    else:
        verdict.unanswered += request.count


def _counts(verdict, request, there):
    """A failed request: at least those written are there, at most those possibly written beside them."""
    verdict.acked += request.written
    verdict.not_written += request.not_written
    verdict.possibly += request.possibly
    told = dict(event=(request.connection, request.first), there=there, written=request.written,
                not_written=request.not_written, possibly=request.possibly)
    if request.written + request.not_written + request.possibly + len(request.refused) != request.count:
        verdict.note("miscounted", **told)
    if there < request.written:
        verdict.note("lost", request.written - there, **told)
    if there > request.written + request.possibly:
        verdict.note("denied", there - request.written - request.possibly, **told)


def longest_gap(times, spans):
    """The longest time without an acknowledgement while there was load. `times` are those of acknowledgements, `spans`
    those of load, as (begin, end), all in seconds; the ends of a span count as gaps too."""
    longest, times = 0.0, sorted(times)
    for begin, end in spans:
        inside = [begin, *(at for at in times if begin <= at <= end), end]
        longest = max([longest, *(later - earlier for earlier, later in zip(inside, inside[1:]))])
    return longest
