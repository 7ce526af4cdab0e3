"""The bench harness: servers side by side on one machine, in the same run, and what may be said from it.

machine     cores, quiet, steal, and the record of the environment
processes   what /proc tells of a server while it is loaded
servers     starting ringmill and the reference servers
generators  `ringmill load`, `lg`, and a slow stand-in, with figures of the same names
sampling    one sample; rounds of servers that take turns; bursts
suites      what is measured against what
memory      resident memory against the plan
chaos       the second write-up's run
throttle    a control group that takes CPU time away
results     reading result files
tables      results as Markdown
statistic   signed ranks and bootstrap: what paired rounds can tell
reporting   the figures and tables that README quotes
svg         those figures
profiling   samples of perf and jemalloc to stages and sites

Standard library only. Nothing here judges a commit: that is the gate's.
"""
