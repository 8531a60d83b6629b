"""In place of the standard library's ``ssl``: Pyodide's verifies nothing, so there is none.

TLS is Node's (``wires.mjs``). The names are here for modules that import them; each refuses use.
"""


class SSLError(OSError):
    """As in the standard library."""


class _Refused:
    def __init__(self, *_: object, **__: object) -> None:
        raise SSLError("Python has no TLS here: Pyodide's verifies no certificate.")


class SSLContext(_Refused):
    """Refused."""


class SSLObject(_Refused):
    """Refused."""


class SSLSocket(_Refused):
    """Refused."""


def create_default_context(*_: object, **__: object) -> SSLContext:
    """Refused."""
    return SSLContext()
