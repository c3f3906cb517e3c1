"""The pure heart: events, what they may do to an item, and the state that they add up to.

Standard library only; imports nothing of the package but the errors. Invariant: nothing here reads
a clock, a file, a pid or a random number.
"""
