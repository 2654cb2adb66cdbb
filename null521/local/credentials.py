"""Whether the certificate and key that a unit is given can work, and until when.

It knows PEM files by way of certificate.py. It must not know which unit, nor how STARTTLS is asked
for. Nothing of a key is ever shown.
"""

import os
import time

from null521 import certificate
from null521.local.parts import Part, shown

NEAR = 14 * 86400  # seconds; whoever renews certificates by a program does so earlier


def judge_served(end: str) -> Part:
    """What can be said where no unit names the files. end: of the certificate that is in use."""
    part = Part("certificate", [f"the one in use ends on {date(end)}{_left(end)}"])
    part.data["not_after"] = end
    _judge_end(part, end, "the certificate in use")
    return part


def judge(
    given: tuple[str, str],
    files: tuple[str, str],
    rooted: bool,
    served: str,
    is_offered: bool | None,
    restart: str,
) -> Part:
    """given: the paths of certificate and key by the settings. files: those behind them, or "".

    rooted: whether the unit has another root directory, in which it can read credentials alone.
    served: the end of the certificate that is in use, or "". is_offered: whether STARTTLS is and
    works, None if nobody could be asked. restart: what makes the service read the files.
    """
    if not any(given):
        return Part("certificate", ["none, as set"])
    part = judge_served(served) if served else Part("certificate")
    part.data["files"] = [shown(path) for path in files]
    outside = [path for path, file in zip(given, files, strict=True)
               if rooted and path and path == file]  # fmt: skip
    part.faults += [
        f"{shown(path)} is not in the unit's root directory, so the service cannot read it: "
        "use LoadCredential=, as the unit does"
        for path in outside
    ]
    if not outside and all(files):
        _judge_files(part, files)
    elif not (outside or served):
        part.unknown.append("certificate: the unit does not name its files in a way known here")
    on_disk = part.data.get("file_not_after") or ""
    if served:
        part.unknown.clear()  # it was seen to work
        if on_disk and on_disk != served and not part.faults:
            part.faults.append(f"the certificate on disk ends on {date(on_disk)}, but the one in "
                               f"use on {date(served)}: {restart}")  # fmt: skip
    elif is_offered is False and not (part.faults or part.unknown):
        part.faults.append(f"STARTTLS is not offered, although the files can be used: {restart}")
    return part


def _judge_files(part: Part, files: tuple[str, str]) -> None:
    cert, key = files
    try:
        end = certificate.validity(certificate.block(cert, b" CERTIFICATE-----"))[1]
        part.data["file_not_after"] = end or None
        part.found.append(f"{shown(cert)} ends on {date(end)}{_left(end)}")
    except (OSError, ValueError):
        pass  # context() says why
    try:
        certificate.context(cert, key)
    except certificate.Unusable as error:
        denied = [path for path in files if _is_denied(path)]
        if denied:
            part.unknown.append(f"certificate: only root can read {shown(denied[0])}")
        else:
            part.faults.append(shown(str(error)))
    else:
        part.found.append("its key belongs to it")
        _judge_end(part, part.data["file_not_after"] or "", shown(cert))


def _is_denied(path: str) -> bool:
    """Whether it is there, or may be, but not for us."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _judge_end(part: Part, end: str, name: str) -> None:
    left = seconds_left(end)
    if left is not None and left < NEAR:
        fault = f"{name} {'has expired' if left < 0 else 'expires'} on {date(end)}: renew it"
        if not any(date(end) in other for other in part.faults):
            part.faults.append(fault)


def _left(end: str) -> str:
    left = seconds_left(end)
    return "" if left is None else f", in {left // 86400} days" if left >= 0 else ", in the past"


def seconds_left(end: str) -> int | None:
    """Until that time, which is YYYYMMDDHHMMSSZ; None if it is not."""
    moment = certificate.seconds_of(end)
    return None if moment is None else moment - int(time.time())


def date(end: str) -> str:
    """The day of YYYYMMDDHHMMSSZ; "?" for anything else."""
    return "?" if seconds_left(end) is None else f"{end[:4]}-{end[4:6]}-{end[6:8]}"
