"""Runs a command and writes down what it cost: `python benchmarks/process.py FILE CORES COMMAND...`

CORES is `one`, to pin the command to one core and to one thread in each library, or `all`.

FILE gets `{"rc", "wall", "cpu", "peak"}` as JSON: seconds of clock and of processor, and the peak of
resident memory in MiB, of the command. It is a process of its own because a child
inherits the peak of the process that started it, and a benchmark with its data loaded is large.
"""

import json
import os
import subprocess
import sys
import time

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


def main(file: str, cores: str, command: list[str]) -> None:
    """Runs the command to its end, without a GPU."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    if cores == "one":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        environment |= dict.fromkeys(THREADS, "1")
    begin = time.perf_counter()
    child = subprocess.Popen(command, env=environment)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    found = {
        "rc": os.waitstatus_to_exitcode(status),
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": used.ru_maxrss / 1024,
    }
    with open(file, "w", encoding="utf-8") as output:
        json.dump(found, output)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
