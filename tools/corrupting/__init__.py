"""A fuzzer over whole log folders: damage a copy, look at it in a process of its own, judge the answers.

`folders` prepares logs, `mutators` damage them, `examining` is what a child process asks of one,
`judging` compares with the truth, `trials` puts these together, `controls` plants bugs. Invariant: the
truth comes from the undamaged folder, and that it is right from a model that knows no log.
"""
