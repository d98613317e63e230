"""``python -S launch.py LINES COMMAND…``: run a command, tell when so many lines had come, and what memory it took.

A process of its own, and a small one, since the kernel counts what the parent had in memory to the child's peak.
"""

import json
import os
import subprocess
import sys
import time

start = time.perf_counter()
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE)
if child.stdout is None:
    raise TypeError("a child has a pipe from its standard output")
for _ in range(int(sys.argv[1])):
    line = child.stdout.readline()
seconds = time.perf_counter() - start
child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
child.returncode = os.waitstatus_to_exitcode(status)
unit = 1 if sys.platform == "darwin" else 1024
print(
    json.dumps(
        {
            "code": child.returncode,
            "line": line.decode().strip(),
            "seconds": seconds,
            "memory": usage.ru_maxrss * unit,
        }
    )
)
