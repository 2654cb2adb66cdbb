"""null521: answers 521 on a host that never takes mail."""

__version__ = "0.1.0"
