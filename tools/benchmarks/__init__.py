"""Benchmarks that others can run: what the library costs, and what its rivals cost in the same minute.

`command` is the way in; `speed` and `standing` hold the sub-benchmarks; `measuring` runs their cases
interleaved, each in a fresh process; the `task_*` modules are what those processes do. Invariant: a
figure is a ratio or a rate of runs that took turns in one call, as median and spread.
"""
