"""How fast a student is, beside others that do the same.

`python -m benchmarks --data FOLDER` measures and writes ``docs/benchmarks.md``. Each engine has a process of its own;
the processes are asked in turn, round by round, so that what disturbs the machine disturbs all alike.
"""
