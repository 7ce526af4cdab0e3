"""The fault matrix: the built server under load while brokers, networks and credentials break, row by row.

`oracle` compares what was sent and what was said about it with what an independent consumer found, and is pure; `load`
sends and notes every reply; `server` runs the built program; `stage` holds brokers, proxies and fakes over many rows;
`trial` is one row's run; `rows_*` are the rows; `command` chooses, runs and reports. Enter at `command`.
Nothing here repairs or repeats: an event is sent once, so what the log holds twice was written twice by the server.
"""
