"""A simulator: the real dispatcher, fold and recovery over the memory engine, in one thread, by a seed.

`world` is the disk, the kernel and what effects have happened out there; `process` what a process does
with the real code; `model` what the log should add up to, in plain dicts; `lives` chooses what happens
next; `exhaustive` leaves nothing out of short histories; `controls` plants bugs. Invariant: no thread, no
clock and no chance but those of the seed, so what went wrong once goes wrong again.
"""
