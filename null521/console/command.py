"""What the command lines of the programs have in common: usage errors and standard output.

It knows argparse and sys.stdout. It must not know any program's options.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Options of one program; a usage error is one line, and exit status EX_USAGE of sysexits(3).

    argparse's own status is 2, which `null521 check` needs for an answer. Abbreviated options are
    usage errors, because a later version could make them ambiguous.
    """

    def __init__(
        self,
        prog: str,
        description: str,
        epilog: str,
        formatter: type[argparse.HelpFormatter] = argparse.HelpFormatter,
    ) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            # The width of the terminal must not change the text, which manuals quote.
            formatter_class=lambda prog: formatter(prog, width=90),
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print the message on standard error; SystemExit."""
        if sys.stderr:  # None if it is closed
            line = " ".join(message.split())
            print(f"{self.prog}: {line}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(os.EX_USAGE)

    def help(self) -> str:
        """What --help prints, without the last newline."""
        return self.format_help().rstrip()


@contextlib.contextmanager
def flushed_stdout() -> Iterator[None]:
    """Flush standard output after the block; OSError if the block or the flush cannot write.

    Standard output is closed then. Otherwise Python would flush it again at exit, fail, and change
    the exit status to 120. Characters that the locale lacks are escaped.
    """
    with contextlib.suppress(AttributeError, ValueError):  # not every locale has all characters
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        yield
        if sys.stdout:  # None if it is closed
            sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            if sys.stdout:
                sys.stdout.close()
        raise
