"""null521: answers 521 on a host that never takes mail.

The files at the top are the path of one connection and its branches (certificate, tls, jsonline,
invalid, misuse, fault); each folder is a program of its own, which that path never imports.

Files on the path import posix, _socket, _signal and _stat in place of os, socket, signal and stat,
which wrap these. socket alone costs 7 ms, which is nearly what the interpreter itself does, and
signal 6; os costs a fifth of it on Python 3.11, and more on later ones. What is underneath is built
in. For the same reason they say `MYPY = False; if MYPY:` where others import typing.TYPE_CHECKING.
"""

__version__ = "0.1.0"
