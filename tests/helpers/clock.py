"""Bounds on time, which other work on the machine must not upset.

It knows how Linux accounts for the time of a thread, and nothing of null521.
"""

import os
import subprocess
import threading
import time
from pathlib import Path


class Stopwatch:
    """Measures what the calling thread takes from here on, on a machine of its own."""

    def __init__(self) -> None:
        self._start = time.monotonic() - _waited("thread-self")

    def seconds(self) -> float:
        """Seconds by the clock, without those in which the thread was ready but had no CPU."""
        return time.monotonic() - _waited("thread-self") - self._start


def run(
    words: list[str], timeout: float, cwd: Path
) -> tuple["subprocess.CompletedProcess[bytes]", float]:
    """Run a program that prints little; also return for how many seconds it had no CPU."""
    ends = subprocess.PIPE
    with subprocess.Popen(words, stdout=ends, stderr=ends, cwd=cwd) as process:
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        assert process.stdout
        assert process.stderr
        stdout, stderr = process.stdout.read(), process.stderr.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        waited = _waited(str(process.pid))
        timer.cancel()
    return subprocess.CompletedProcess(words, process.returncode, stdout, stderr), waited


def _waited(task: str) -> float:
    # The second figure is what the task has waited on a run queue, in nanoseconds: Linux,
    # Documentation/scheduler/sched-stats.rst.
    return int(Path(f"/proc/{task}/schedstat").read_text().split()[1]) / 1e9
