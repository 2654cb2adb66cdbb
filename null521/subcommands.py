"""Which module stands behind which subcommand; the path of a connection must not import it."""

import os


def run(name: str, arguments: list[str]) -> int:
    """Do what the subcommand does; return the exit status."""
    # Each alone, for what one imports the other does without.
    if name == "serve":
        from null521 import serve

        return serve.run(arguments, os.environ)
    if name == "report":
        from null521 import report

        return report.run(arguments)
    from null521 import check

    return check.run(arguments)
