"""The gate's parts; enter at benches/gate, read benches/README.md.

sequential  statistics of paired restarts: pure
callgrind   what Valgrind writes, and counts against a baseline: pure
tree        commits, worktrees, builds, the toolchain
g0 g1 g2 g3 the four gates
"""
