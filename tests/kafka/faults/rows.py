"""The list of rows. Each is a function of a Trial: it serves, sends, breaks and mends; the trial judges.

A row expects every event to be acknowledged unless it sets `all_acked` to False, which it does where events must fail
truthfully. Whatever shows that the fault struck is required or noted: a row whose fault never came would prove nothing.
"""
from collections import namedtuple

Row = namedtuple("Row", "name fault must quick run")
ROWS = []


def row(name, fault, must, quick=False):
    """Registers a row: its name, the fault in words, the letters of what must hold, and whether CI runs it."""
    def register(run):
        ROWS.append(Row(name, fault, must, quick, run))
        return run
    return register
