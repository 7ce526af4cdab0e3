"""What /proc tells of processes while they are under load: time on the core, time waiting for it, memory."""
import os
import statistics
import threading
import time


def scheduled(pid):
    """(nanoseconds on a core, nanoseconds runnable without one) of a process's living threads."""
    ran = waited = 0
    for thread in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/schedstat" % (pid, thread)) as f:
                fields = f.read().split()
        except OSError:
            continue
        if len(fields) > 1:
            ran, waited = ran + int(fields[0]), waited + int(fields[1])
    return ran, waited


def cpu_ns(pid):
    return scheduled(pid)[0]


def rss_kb(pid, key="VmRSS"):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key + ":"))


class Series:
    """Calls `look` every so often on a thread of its own and keeps (seconds since the start, what it said)."""

    def __init__(self, look, every):
        self.points, self._look, self._every = [], look, every
        self._end, self._began = threading.Event(), time.time()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                self.points.append((round(time.time() - self._began, 2), self._look()))
            except (OSError, StopIteration):
                return
            if self._end.wait(self._every):
                return

    def stop(self):
        self._end.set()
        self._thread.join()
        return self.points


def rss_series(pid, every=0.5):
    return Series(lambda: rss_kb(pid), every)


def slope(points):
    """Least squares through the last two thirds of (seconds, value): (value a second, growth in that part)."""
    later = [(t, v) for t, v in points if points and t > points[-1][0] / 3]
    if len(later) < 4:
        return None
    mean_t, mean_v = statistics.mean(t for t, _ in later), statistics.mean(v for _, v in later)
    spread = sum((t - mean_t) ** 2 for t, _ in later)
    per_s = sum((t - mean_t) * (v - mean_v) for t, v in later) / spread if spread else 0.0
    return per_s, per_s * (later[-1][0] - later[0][0])
