"""Passwords: scrypt, with its parameters in the stored text, and bcrypt's limit of 72 bytes."""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64decode, b64encode
from hmac import compare_digest
from typing import Final

from usher.emulator.errors import IdentityError

MAX_BYTES: Final = 72
"""The limit of bcrypt in GoTrue: it refuses to hash more, and compares no more."""
_COST: Final = 2**14
_BLOCK: Final = 8
_PARALLEL: Final = 1
_MEMORY_BYTES: Final = 64 * 1024 * 1024


def hash_password(password: str, refused: str) -> str:
    """The text to store: ``scrypt$cost$block$parallel$salt$digest``.

    Raises:
        IdentityError: 500 with the message ``refused``; it is too long for GoTrue.
    """
    if len(password.encode()) > MAX_BYTES:
        raise IdentityError(500, refused)
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _COST, _BLOCK, _PARALLEL)
    numbers = f"{_COST}${_BLOCK}${_PARALLEL}"
    return f"scrypt${numbers}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def matches(password: str, stored: str) -> bool:
    """Whether this is the password; never, where none is stored."""
    if not stored:
        return False
    _, cost, block, parallel, salt, digest = stored.split("$")
    found = _scrypt(password, b64decode(salt), int(cost), int(block), int(parallel))
    return compare_digest(found, b64decode(digest))


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(
        password.encode()[:MAX_BYTES],
        salt=salt,
        n=cost,
        r=block,
        p=parallel,
        maxmem=_MEMORY_BYTES,
        dklen=32,
    )
