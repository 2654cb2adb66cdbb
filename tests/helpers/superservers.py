"""A superserver in the network of a journald, and its clients."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator

from helpers.namespaces import TEST_TIMEOUT, TREE, Journald

COMMANDS = "EHLO mx.b.c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<x@y>\r\nDATA\r\nQUIT\r\n"


@contextlib.contextmanager
def serving(journald: Journald, words: list[str]) -> Iterator[None]:
    """Run the superserver; the block starts once its port is open."""
    process = journald.popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TEST_TIMEOUT
        listening = ["ss", "-Hltn", "sport = 25"]
        while not journald.run(listening, stdout=subprocess.PIPE).stdout:
            assert process.poll() is None, f"{words} ended"
            assert time.monotonic() < deadline, f"{words} does not listen"
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def dial(
    journald: Journald, host: str, commands: str = COMMANDS, count: int = 1
) -> list[tuple[int, str]]:
    """Connect that many clients in the namespace; return their ports and what they received."""
    words = [sys.executable, str(TREE / "tests/helpers/program.py"), host, "25", str(count)]
    done = journald.run(words, input=commands.encode(), stdout=subprocess.PIPE, timeout=120)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]
