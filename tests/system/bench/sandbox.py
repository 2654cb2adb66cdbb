"""What a hostile program tries from inside each unit, and the error that refuses it.

    python3 tests/system/bench/sandbox.py

As root. The table is what docs/operating.md shows; tests/system/test_sandbox.py judges it.
"""

import tempfile
from pathlib import Path

from helpers.host import PAIRS, taken_over
from helpers.namespaces import Systemd


def main() -> None:
    """Boot, try all in both units, print the table."""
    with tempfile.TemporaryDirectory() as folder, Systemd(Path(folder, "host")) as host:
        host.make("install")
        results: dict[str, dict[str, str]] = {}
        for pair, (_, unit, _) in PAIRS.items():
            connections, lines = taken_over(host, pair)
            print(f"{unit}: {len(lines)} attempts, {connections} connections out")
            for line in lines:
                key = f"{line['group']} | {line['tried']}"
                results.setdefault(key, {})[pair] = line["refused"] or "**not refused**"
    print(f"\n| | tried | {' | '.join(PAIRS[pair][1] for pair in PAIRS)} |")
    print("|---|---|---|---|")
    for key, each in results.items():
        print(f"| {key} | {' | '.join(each.get(pair, '') for pair in PAIRS)} |")


if __name__ == "__main__":
    main()
