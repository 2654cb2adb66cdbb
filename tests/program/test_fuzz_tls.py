"""A few of the conversations that tests/system/bench/fuzz_tls.py holds by the hundred thousand."""

import os
import time

import pytest
from fuzz_tls import MAX_GROWTH, WAYS, fuzz


@pytest.mark.parametrize("way", WAYS)
def test_mutated_conversations(way: str) -> None:
    """Outside CI, never the same; fuzz() raises at a fault, and names the seed."""
    seed = "521" if "TESTS_MUST_RUN" in os.environ else str(time.time())
    endings, growth = fuzz(way, 1500, seed)
    assert {"tls", "eof", "quit", "limit"} <= set(endings)
    assert endings.total() == 1500
    assert growth < MAX_GROWTH
