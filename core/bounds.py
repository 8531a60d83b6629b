"""Every limit of size and depth. Imports nothing, so that every module can keep to one number.

The rule that joins them: what Usher accepts can travel on. A written value goes into an answer,
comes back in the next event's ``app_metadata``, and stands in an access token; each of the three
has room for it. ``tests/domain/test_bounds.py`` adds the numbers up.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- JSON ----------------------------------------------------------------------------------------

MAX_DEPTH: Final = 64
"""Levels of an ordinary document, and of an event without its metadata maps."""
MAX_LINE_DEPTH: Final = 80
"""Levels of a line of captures: what a record of 64 levels is wrapped in."""
MAX_MAP_BYTES: Final = 64 * KIB
"""Of one metadata map, as its JSON stands in the body."""
MAX_MAP_DEPTH: Final = 32
"""Levels of one metadata map, its own braces included."""
MAX_ESCAPE_BYTES: Final = 6
"""The most that Identity writes for one character of ours: Go escapes ``<`` as ``\\u003c``."""
MAX_STRING_BYTES: Final = 4 * KIB
"""Of an e-mail address or an audience, as its JSON stands in the body."""
MAX_ROLES_BYTES: Final = 256 * KIB
"""Of the list of roles within an ``app_metadata`` that is itself too large to be kept."""

# --- events --------------------------------------------------------------------------------------

MAX_EVENT_BYTES: Final = 16 * MIB
"""Of the body of a signed event."""
MAX_KEPT_BODY_BYTES: Final = 256 * KIB
"""Larger bodies are kept in the ledger as their digest alone."""
MAX_LOGIN_BODY_BYTES: Final = 16 * KIB
"""Larger bodies of one person's logins are kept only ``LARGE_LOGINS_PER_HOUR``: a login costs that
person a few bytes."""
LARGE_LOGINS_PER_HOUR: Final = 6
MAX_ENVELOPE_BYTES: Final = 256 * KIB
"""Of an event without its metadata maps."""
MAX_EMAIL_CHARACTERS: Final = 320
"""64 before the at sign, 255 after it (RFC 5321, 4.5.3.1)."""
MAX_EMAIL_KEY_BYTES: Final = 2 * KIB
"""Of an address's key in UTF-8: NFC can triple a text, and an index row of PostgreSQL has room for
2,704 bytes."""
MAX_PROVIDER_CHARACTERS: Final = 100
MAX_EVENT_TOKEN_BYTES: Final = 4 * KIB
"""Of the JWS that signs an event."""

# --- what people write here ----------------------------------------------------------------------

MAX_ROLE_CHARACTERS: Final = 100
MAX_GRANTS: Final = 100
"""Of one user, denials included."""
MAX_GRANTED_BYTES: Final = 12 * KIB
"""Of all roles that one user, or the policy, gives, as Identity writes them."""
MAX_WRITTEN_BYTES: Final = 16 * KIB
"""Of a profile, of further ``app_metadata``, and of the policy's, as Identity writes them."""
MAX_WRITTEN_DEPTH: Final = MAX_MAP_DEPTH
MAX_OPEN_REQUESTS: Final = 5
"""Of one person, that no administrator has decided."""
MAX_REASON_CHARACTERS: Final = 500
"""Of a person's words with a request, and of an administrator's sentence about it."""
MAX_MESSAGE_CHARACTERS: Final = 500
"""Of the policy's sentence for somebody whom it refuses, in policy.toml and at the door."""
MAX_LIST_BYTES: Final = 16 * MIB
"""Of a text file of addresses or domains that policy.toml names."""
MIN_CODE_CHARACTERS: Final = 12
"""Letters and digits of an invitation code that an administrator chose: too many to be tried."""
MAX_CODE_CHARACTERS: Final = 64
MAX_CODE_USES: Final = 100_000
"""Accounts that one invitation code can admit."""
MAX_CODE_ROLES: Final = 20
"""Of one invitation code."""
MAX_CODES_AT_ONCE: Final = 500
"""Invitation codes that are made in one call."""
MAX_LABEL_CHARACTERS: Final = 200
"""Of an invitation code's label."""
MAX_CODE_KEY_CHARACTERS: Final = 100
"""Of the name of a key of ``user_metadata``."""
MAX_QUOTA: Final = 1_000_000
"""People in one window of a quota."""
MAX_SINKS: Final = 20
"""Receivers of changes by webhook."""
MAX_SINK_SECRETS: Final = 4
"""Of one sink, that sign at one time."""
MAX_SINK_URL_CHARACTERS: Final = 2_000
DOOR_ANSWER_BYTES: Final = 4 * KIB
"""Of every answer of the door, whatever it says: the longest sentence, escaped, has room."""

# --- settings ------------------------------------------------------------------------------------

MAX_SECRET_FILE_BYTES: Final = 64 * KIB
"""Of a file that holds one setting."""

# --- requests ------------------------------------------------------------------------------------

MAX_ACCESS_TOKEN_BYTES: Final = 64 * KIB
"""The most that proxies pass in one header."""
MAX_HEADER_BYTES: Final = 80 * KIB
"""Of all headers of a request together."""
FREE_BODY_BYTES: Final = 16 * KIB
"""Bodies up to here are read without asking for room."""
ROOM_FOR_ANYBODY_BYTES: Final = 64 * MIB
"""For all larger bodies that a server reads at one time, their senders unknown."""
ROOM_FOR_EVENTS_BYTES: Final = 32 * MIB
"""For the larger bodies of signed events that a server reads at one time, but for:"""
ROOM_FOR_LARGE_LOGINS_BYTES: Final = 32 * MIB
"""events over ``MAX_KEPT_BODY_BYTES`` that people bring about themselves, as often as they like."""
