"""null521: answers 521 on a host that never takes mail.

The files at the top are the path of one connection and its branches (certificate, tls, jsonline,
fault); each folder is a program of its own, which that path never imports.

Files on the path import _socket, _signal and _collections_abc in place of socket, signal and
collections.abc, which wrap these. socket alone costs 7 ms, which is nearly what the interpreter
itself does, and signal 6; what is underneath is built in, or loaded already. For the same reason
they say `MYPY = False; if MYPY:` where others import typing.TYPE_CHECKING.
"""

__version__ = "0.1.0"
