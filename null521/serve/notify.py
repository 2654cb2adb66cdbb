"""What systemd is told of a server: that it is ready, that it is alive, that it stops.

It knows sd_notify(3). It must not know what a state means for connections.

The protocol is one datagram, which that page describes for those who send it themselves.
systemd-python's notify() is not used even if it is installed: it sends the same, but waits in the C
library while systemd is busy. Neither uses connect(2), which the unit forbids.
"""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to the socket that NOTIFY_SOCKET names; does nothing if there is none.

    is_wanted: whether there is one. watchdog: seconds after which systemd wants to hear from us
    again, or 0 if it does not.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._place = environ.get("NOTIFY_SOCKET", "")
        self.is_wanted = bool(self._place)
        # Half of what the watchdog allows: sd_watchdog_enabled(3).
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog = int(usec) / 2e6 if usec.isdecimal() else 0.0

    def send(self, *states: str) -> str:
        """Send NAME=VALUE for each; return "", or in one line why systemd cannot be told.

        Never waits. If the socket is full, the states are lost: the next ones have to repeat them.
        """
        if not self.is_wanted:
            return ""
        # An abstract address has an "@" in place of its first octet, which is 0: unix(7).
        address = f"\0{self._place[1:]}" if self._place.startswith("@") else self._place
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.sendto("\n".join(states).encode(), socket.MSG_DONTWAIT, address)
        except BlockingIOError:
            pass
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            place = self._place.encode("unicode_escape").decode()
            return f"systemd cannot be told the state (NOTIFY_SOCKET={place}): {reason}"
        return ""
