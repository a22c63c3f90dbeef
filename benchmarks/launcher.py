"""Start a command, wait for it, print what it took: ``launcher.py LOG COMMAND...``."""

import os
import sys
import time

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
start = time.perf_counter()
child = os.fork()
if child == 0:
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - start
unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kB elsewhere
cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit
print(f'{{"wall": {wall}, "cpu": {cpu}, "peak": {peak}}}')
sys.exit(os.waitstatus_to_exitcode(status) != 0)
