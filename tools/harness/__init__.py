"""What the power-cut and the I/O-fault harness share: lives of a log, watched call by call, and a judge.

Imported by `tools/powercut.py`, `tools/io_faults.py` and their tests. A *life* is a script that uses the
real library; the *interposer* (C, loaded before all others) writes down what it does to its files; the
*witness* writes into the same stream what the library promised; the *judge* opens what is left, by the
real library too, and compares.
"""
