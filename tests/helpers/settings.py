"""A setting's environment variable, and its value once read."""

from null521.settings import Settings


def variable(name: str) -> str:
    return "NULL521_" + name.upper().replace("-", "_")


def value(settings: Settings, name: str) -> object:
    return getattr(settings, name.replace("-", "_"))
