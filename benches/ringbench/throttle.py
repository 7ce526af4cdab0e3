"""A control group that takes a share of the CPU away from the processes in it (cgroup v2 `cpu.max`, or v1)."""
import os
import sys

V2, V1 = "/sys/fs/cgroup", "/sys/fs/cgroup/cpu"
# Shorter than the kernel's 100 ms: what is taken away comes in smaller pieces, as from a busy neighbour.
PERIOD_US = 20_000


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def quota_us(share_taken, cores, period_us=PERIOD_US):
    """CPU time a period for `cores` cores of which a share is taken away."""
    return round((1 - share_taken) * cores * period_us)


class Throttle:
    """A group of our own, for the life of a `with`. `counts` says how often the kernel held it back."""

    def __init__(self, share_taken, cores, period_us=PERIOD_US):
        self.quota, self.period = quota_us(share_taken, cores, period_us), period_us
        controllers = os.path.join(V2, "cgroup.controllers")
        self.v2 = os.path.exists(controllers) and "cpu" in open(controllers).read().split()
        self.folder = os.path.join(V2 if self.v2 else V1, "ringmill-bench-%d" % os.getpid())

    def __enter__(self):
        try:
            if self.v2:
                write(os.path.join(V2, "cgroup.subtree_control"), "+cpu")
            os.makedirs(self.folder, exist_ok=True)
            if self.v2:
                write(os.path.join(self.folder, "cpu.max"), "%d %d" % (self.quota, self.period))
            else:
                write(os.path.join(self.folder, "cpu.cfs_period_us"), str(self.period))
                write(os.path.join(self.folder, "cpu.cfs_quota_us"), str(self.quota))
        except OSError as error:
            sys.exit("no CPU limit through %s: %s. Run as root on a host with the cpu controller, or without throttling "
                     "by --chaos-throttle 0" % (self.folder, error))
        return self

    def add(self, pid):
        write(os.path.join(self.folder, "cgroup.procs"), str(pid))

    def counts(self):
        """{nr_periods, nr_throttled, throttled_us}"""
        with open(os.path.join(self.folder, "cpu.stat")) as f:
            d = {key: int(value) for key, value in (line.split() for line in f)}
        return {"nr_periods": d["nr_periods"], "nr_throttled": d["nr_throttled"],
                "throttled_us": d.get("throttled_usec", d.get("throttled_time", 0) // 1000)}

    def __exit__(self, *_):
        try:
            os.rmdir(self.folder)
        except OSError as error:
            print("  %s stays: %s" % (self.folder, error), file=sys.stderr)


class Unthrottled:
    """In a throttle's place where nothing is taken away."""

    def __enter__(self):
        return self

    def add(self, pid):
        pass

    def counts(self):
        return {"nr_periods": 0, "nr_throttled": 0, "throttled_us": 0}

    def __exit__(self, *_):
        pass


def throttle(share_taken, cores):
    return Throttle(share_taken, cores) if share_taken else Unthrottled()
