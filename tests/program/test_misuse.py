"""What is said to an administrator who has typed something wrong, and never to a client."""

import os
import pty
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from helpers.program import TEST_TIMEOUT, TEXT, tcp_pair

from null521.check import cli as check
from null521.console import usage

REFUSED_ONLY = re.compile(r"(521 h\.example is configured NOT[^\r\n]*\r\n|221 h\.example\r\n)+")


def typed(launcher: Path, line: str, terminal: bool = False) -> tuple[int, str]:
    """What a shell prints for the line, in which null521 is the launcher, and its exit status.

    terminal: whether standard input is one, on which nobody types; otherwise it is /dev/null.
    """
    line = line.replace("null521", shlex.quote(str(launcher)))
    stdin: int = subprocess.DEVNULL
    if terminal:
        ours, stdin = pty.openpty()
    try:
        done = subprocess.run(
            ["sh", "-c", line],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TEST_TIMEOUT,
            check=False,
        )
    finally:
        if terminal:
            os.close(ours)
            os.close(stdin)
    return done.returncode, done.stdout.decode()


on_both = pytest.mark.parametrize("terminal", [False, True], ids=["/dev/null", "terminal"])


@on_both
def test_help_is_printed_at_once(launcher: Path, terminal: bool) -> None:
    assert typed(launcher, "null521 help", terminal) == (0, usage.text() + "\n")


@on_both
def test_help_of_a_subcommand(launcher: Path, terminal: bool) -> None:
    assert typed(launcher, "null521 help check", terminal) == (0, check.help() + "\n")


@on_both
@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("server", "; did you mean serve?"),
        ("serv", "; did you mean serve?"),
        ("chekc", "; did you mean check?"),
        ("reports", "; did you mean report?"),
        ("frobnicate", ""),
    ],
)
def test_a_misspelt_subcommand(launcher: Path, word: str, meant: str, terminal: bool) -> None:
    status, said = typed(launcher, f"null521 {word}", terminal)
    first, _, rest = said.partition("\n\n")
    assert (status, first) == (64, f"null521: {word!r} is not a subcommand{meant}")
    assert rest == usage.text() + "\n"


@pytest.mark.parametrize("words", [["help"], ["server"], ["help", "serve"]], ids=" ".join)
def test_a_client_sees_nothing_of_it(launcher: Path, words: list[str]) -> None:
    """As under inetd, which connects all three descriptors to it."""
    client, connection = tcp_pair()
    with client, connection:
        fd = connection.fileno()
        process = subprocess.Popen(
            [str(launcher), *words, "--hostname=h.example", "--log=none"],
            stdin=fd, stdout=fd, stderr=fd,
        )  # fmt: skip
        connection.close()
        client.sendall(b"QUIT\r\n")
        said = client.makefile("rb").read().decode()
        client.close()
        assert process.wait(TEST_TIMEOUT) == 78
    assert REFUSED_ONLY.fullmatch(said)


@pytest.mark.parametrize("words", [["help"], ["server"]], ids=" ".join)
def test_a_client_behind_pipes_sees_nothing_of_it(launcher: Path, words: list[str]) -> None:
    """As under ncat -e, which names the client in the environment."""
    client = {"NCAT_REMOTE_ADDR": "192.0.2.1", "NCAT_REMOTE_PORT": "4711"}
    assert_refused_behind_pipes([str(launcher), *words], client)


def assert_refused_behind_pipes(words: list[str], environ: dict[str, str]) -> None:
    """The client sees SMTP alone, and the administrator that something is wrong."""
    done = subprocess.run(
        [*words, "--hostname=h.example", "--log=none"],
        env=environ,
        input=b"QUIT\r\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert done.returncode == 78
    assert done.stdout.decode() == f"521 {TEXT}\r\n221 h.example\r\n"


# What `2>&1 | less` shows.


@on_both
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            "null521 serve extra",
            "null521: 'extra' is not an option; see null521 serve --help",
        ),
        (
            "null521 --nonsense --log=none",
            "null521: '--nonsense' is not an option; see null521 --help",
        ),
        (
            "null521 --refuse-at=never --log=none",
            "null521: --refuse-at is 'never', but should be one of greeting, helo, mail, rcpt",
        ),
        (
            "NULL521_LOG=none NULL521_HOSTNAME=h NULL521_MAX_LINES=9 null521 --max-line=x",
            "null521: 'NULL521_MAX_LINES' is not a setting; did you mean NULL521_MAX_LINE?",
        ),
    ],
)
def test_errors_are_seen_through_a_pipe(
    launcher: Path, line: str, fault: str, terminal: bool
) -> None:
    line = line.replace("null521 --", f"{launcher} --").replace(
        "null521 serve", f"{launcher} serve"
    )
    _, said = typed(Path("null521"), f"{line} 2>&1 | cat", terminal)
    assert fault in said.splitlines()


def test_on_a_terminal_an_error_does_not_wait_for_a_session(launcher: Path) -> None:
    status, said = typed(launcher, "null521 --max-line=x --log=none", terminal=True)
    assert status == 78
    assert said.count("\n") == 1


def test_errors_do_not_reach_a_client_that_has_standard_error(launcher: Path) -> None:
    """Warnings of variables, too."""
    client, connection = tcp_pair()
    with client, connection:
        fd = connection.fileno()
        process = subprocess.Popen(
            [str(launcher), "--hostname=h.example", "--log=none", "--max-line=x"],
            env={"NULL521_REFUSEAT": "rcpt"},
            stdin=subprocess.DEVNULL, stdout=fd, stderr=fd,
        )  # fmt: skip
        connection.close()
        said = client.makefile("rb").read().decode()
        assert process.wait(TEST_TIMEOUT) == 78
    assert REFUSED_ONLY.fullmatch(said)


def test_errors_do_not_reach_a_client_behind_pipes(launcher: Path) -> None:
    """As under `ncat -c "null521 2>&1"`."""
    assert_refused_behind_pipes([str(launcher), "--max-line=x"], {"NULL521_REFUSEAT": "rcpt"})


def test_a_warning_alone_is_no_failure(launcher: Path) -> None:
    status, said = typed(launcher, "NULL521_REFUSEAT=rcpt null521 --log=none 2>&1")
    assert status == 0
    assert said.endswith(
        "null521: 'NULL521_REFUSEAT' is not a setting; did you mean NULL521_REFUSE_AT?\n"
    )
