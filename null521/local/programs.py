"""Run another program for what it prints, within bounds.

It knows processes and the clock. It must not know what the programs say. They may hang, print
without end, or be missing.
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from typing import NamedTuple

from null521.local.parts import shown

TIMEOUT = 5.0  # seconds
MAX_OCTETS = 2**20  # of each of its two outputs
# Not everybody's PATH has the folders of the system's own programs.
FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Output(NamedTuple):
    """What a program has printed.

    text: its standard output, possibly cut, with invalid UTF-8 escaped. trouble: why that is not
    everything, in one line, or "".
    """

    text: str
    trouble: str = ""


def output(*words: str, timeout: float = TIMEOUT) -> Output:
    """Run the program and wait for its end, at most so many seconds. Never raises."""
    path = shutil.which(words[0], path=f"{os.environ.get('PATH', '')}:{FOLDERS}")
    if path is None:
        return Output("", f"{words[0]} is not installed")
    plain = {"LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "PAGER": "cat"}
    try:
        process = subprocess.Popen(
            [path, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **plain},
            start_new_session=True,  # so that its own children can be ended with it
        )
    except OSError as error:
        return Output("", f"{words[0]} cannot be started: {error.strerror}")
    with process:
        try:
            text, errors, trouble = _read(process, words[0], time.monotonic() + timeout)
        finally:
            if process.returncode is None:  # its id is still its own
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
    if not trouble and process.returncode:
        said = errors.strip().splitlines()
        reason = said[-1] if said else f"exit status {process.returncode}"
        trouble = f"{words[0]}: {shown(reason)}"
    return Output(text, trouble)


def _read(
    process: "subprocess.Popen[bytes]", name: str, end: float, limit: int = MAX_OCTETS
) -> tuple[str, str, str]:
    """Standard output, standard error, and why it was ended early or ""; end: time.monotonic()."""
    taken = [bytearray(), bytearray()]
    trouble = ""
    with selectors.DefaultSelector() as waiting:
        for stream, octets in zip((process.stdout, process.stderr), taken, strict=True):
            assert stream
            waiting.register(stream, selectors.EVENT_READ, octets)
        while waiting.get_map() and not trouble:
            ready = waiting.select(max(0.0, end - time.monotonic()))
            if not ready:
                trouble = f"{name} does not answer"
            for key, _ in ready:
                chunk = os.read(key.fd, 2**16)
                key.data.extend(chunk)
                if not chunk:
                    waiting.unregister(key.fileobj)
                if len(key.data) > limit:
                    trouble = f"{name} prints more than {limit} octets"
    if not trouble:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            trouble = f"{name} does not end"
    text, errors = (octets[:limit].decode("utf-8", "backslashreplace") for octets in taken)
    return text, errors, trouble
