"""A record as a JSON object on a line of its own.

It knows the fields' names there. It must not know where the line goes.
"""

import json
import time

from null521.log import MAX_LINE
from null521.record import Record


def json_line(record: Record) -> bytes:
    """One JSON object on a line, with the fields' names in lower case.

    RECIPIENT, which may repeat, is a list; numbers are numbers.
    """
    now = time.time()
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    entry: dict[str, object] = {
        "time": f"{second}.{int(now % 1 * 1000):03}Z",
        "priority": record.priority,
        "message_id": record.message_id,
        "message": record.message,
    }
    recipients: list[str | int] = []
    for name, value in record.fields:
        if name == "RECIPIENT":
            recipients.append(value)
            entry["recipient"] = recipients
        else:
            entry[name.lower()] = value
    # A longer line could block, or be cut by another process that writes to the same pipe.
    line = json.dumps(entry, ensure_ascii=False).encode()
    if len(line) >= MAX_LINE:
        entry["message"] = record.message[:200]  # it repeats the fields
        line = json.dumps(entry, ensure_ascii=False).encode()
    while len(line) >= MAX_LINE and recipients:
        recipients.pop()
        line = json.dumps(entry, ensure_ascii=False).encode()
    return line + b"\n"
