"""Certificate and key, as files and in use."""

import time
from pathlib import Path

import pytest
from helpers import certificates

from null521 import certificate
from null521.local import credentials
from null521.local.parts import Part

RESTART = "restart it"


def judged(
    files: tuple[str, str],
    served: str = "",
    is_offered: bool | None = True,
    rooted: bool = False,
    given: tuple[str, str] = ("/run/credentials/x/c", "/run/credentials/x/k"),
) -> Part:
    return credentials.judge(given, files, rooted, served, is_offered, RESTART)


def test_a_pair_that_is_in_use(tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    end = certificates.dates(files[0])[1]
    part = judged(files, end)
    assert (part.faults, part.unknown) == ([], [])
    assert (part.data["not_after"], part.data["file_not_after"]) == (end, end)


def test_none_is_set() -> None:
    assert judged(("", ""), given=("", "")).found == ["none, as set"]


def test_another_one_is_in_use(tmp_path: Path) -> None:
    (fault,) = judged(certificates.make(tmp_path), "21000101000000Z").faults
    assert fault.endswith(f"but the one in use on 2100-01-01: {RESTART}")


def test_none_is_offered_although_it_could_be(tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    (fault,) = judged(files, is_offered=False).faults
    assert fault == f"STARTTLS is not offered, although the files can be used: {RESTART}"
    assert judged(files, is_offered=None).faults == []


@pytest.mark.parametrize(("days", "said"), [("-1", "expired at "), ("13", "expires on ")])
def test_its_end_is_near(tmp_path: Path, days: str, said: str) -> None:
    (fault,) = judged(certificates.make(tmp_path, "ec", "-days", days), is_offered=None).faults
    assert said in fault


def test_its_end_is_not_near(tmp_path: Path) -> None:
    files = certificates.make(tmp_path, "ec", "-days", "15")
    assert judged(files, is_offered=None).faults == []


def test_the_one_in_use_alone() -> None:
    soon = time.strftime(certificate.FORMAT, time.gmtime(time.time() + 86400))
    assert len(credentials.judge_served(soon).faults) == 1
    assert credentials.judge_served("21000101000000Z").faults == []
    assert credentials.judge_served("").faults == []


def test_a_file_outside_the_root_directory(tmp_path: Path) -> None:
    files = certificates.make(tmp_path)
    part = judged(files, rooted=True, given=files)
    assert len(part.faults) == 2
    assert judged(files, rooted=False, given=files, is_offered=None).faults == []


def test_the_files_are_not_known() -> None:
    assert len(judged(("", ""), is_offered=None).unknown) == 1
    assert judged(("", ""), served="21000101000000Z").unknown == []


@pytest.mark.parametrize("text", ["", "x", "99999999999999Z", "2100-01-01"])
def test_a_time_that_is_none(text: str) -> None:
    assert credentials.seconds_left(text) is None
    assert credentials.date(text) == "?"
