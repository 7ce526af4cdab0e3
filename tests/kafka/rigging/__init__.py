"""Starts, breaks and questions real Apache Kafka brokers. Standard library only; enter at `command.py`.

`kit` fetches and prepares what never changes (jars, classes, class archives, a formatted folder, certificates) once per
clone; `cluster` runs nodes from it; `settings` writes their properties; `helper` speaks to the one Java process
that administers, produces and consumes; `command` is what a person or a test program speaks to. Every process started
here dies with the one that started it.
"""


class RigError(Exception):
    """What went wrong, where, and how to mend it."""
