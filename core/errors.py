"""Every exception of Usher: one tree, each with a stable code and an HTTP status.

This module imports nothing of ours. An error takes facts, stores them and words itself. Callers
may read ``detail``; ``reason``, ``check`` and ``fact`` are for the log only.
"""

from __future__ import annotations

from enum import StrEnum


class UsherError(Exception):
    """Root of all our errors; callers are answered with ``status`` and ``code``."""

    code, status, title = "internal_error", 500, "Something went wrong on our side"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail


# --- configuration: the process stops, or a command exits, with these --------------------------


class SettingsError(UsherError):
    """One or more settings are missing or wrong; ``problems`` has a sentence for each."""

    code, title = "settings_invalid", "The settings are not usable"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class NoDatabaseError(UsherError):
    """No database is configured, or one that this host would lose."""

    code, status = "no_database", 503
    title = "No database is configured: set USHER_DATABASE_URL to one of PostgreSQL"


class BuildError(UsherError):
    """The functions for Netlify cannot be built."""

    code, title = "build_failed", "The functions for Netlify cannot be built"


class ExtraMissingError(UsherError):
    """A part that the settings ask for needs packages that are not installed.

    ``command`` installs them; ``extra`` is one of the distribution's.
    """

    code = "extra_missing"
    title = "A package is not installed"

    def __init__(self, what: str, extra: str) -> None:
        self.what = what
        self.extra = extra
        self.command = f"pip install 'usher-identity[{extra}]'"
        super().__init__(f"{what} not installed. Run: {self.command}")


class PolicyError(UsherError):
    """The policy does not parse, or its callable failed; ``where`` names the place.

    ``at`` is the file and line of a callable whose answer is wrong; no traceback leads to them.
    """

    code, title = "policy_invalid", "The policy is not usable"
    at: tuple[str, int] | None = None

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where
        self.problem = problem


class HandlersError(UsherError):
    """The modules of USHER_HANDLERS cannot be used; ``problems`` has a sentence for each."""

    code, title = "handlers_invalid", "The handlers are not usable"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class DatabaseError(UsherError):
    """The database cannot be used: away, not migrated, or a refusal.

    ``words``: the database's own.
    """

    code, status, title = "database_unavailable", 503, "The database is not available"

    def __init__(self, detail: str = "", words: str = "") -> None:
        super().__init__(detail)
        self.words = words or detail


class DatabaseAwayError(DatabaseError):
    """No event can be written now: the database is down, locked, full, read-only, or refuses all.

    ``lost``: a good connection broke; a new one may work.
    """

    def __init__(self, detail: str = "", words: str = "", *, lost: bool = False) -> None:
        super().__init__(detail, words)
        self.lost = lost


class NotStorableError(DatabaseError):
    """The database refuses what this one event or change would write, and takes others."""

    code, status, title = "not_storable", 500, "The database does not take this"

    @classmethod
    def refusing(cls, words: str) -> NotStorableError:
        """The error for these words of the database."""
        return cls(f"The database refuses this: {words[:200]}", words)


class SpoolError(UsherError):
    """The database is away, and the spool cannot keep the event either."""

    code = "spool_unavailable"
    status = 503
    title = "Neither the database nor the spool is available"


class OverloadedError(UsherError):
    """More requests wait than can be answered in time; the sender should try again."""

    code, status, title = "overloaded", 503, "Too much is waiting already"


class FeedFullError(OverloadedError):
    """So many requests wait for a change already that no other one may."""


class NotMigratedError(DatabaseError):
    """The tables are not at the newest revision: ``usher db upgrade``."""


class ConflictError(DatabaseError):
    """Another transaction wrote the same row first; the work can be tried again."""

    code, title = "conflict", "The change met another one"


class DuplicateError(ConflictError):
    """A unique key is taken: by another transaction, or by a constraint that is not ours."""


# --- requests ----------------------------------------------------------------------------------


class RequestError(UsherError):
    """The HTTP request itself cannot be served."""

    code, status, title = "bad_request", 400, "The request is not valid"


class NotFoundError(RequestError):
    """No function or resource has this path."""

    code, status, title = "not_found", 404, "There is nothing at this address"


class MethodNotAllowedError(RequestError):
    """The path exists, the method does not; ``allow`` lists those that do."""

    code, status, title = "method_not_allowed", 405, "This address does not take that method"

    def __init__(self, method: str, allow: tuple[str, ...]) -> None:
        super().__init__(f"{method[:20]} is not offered here; use {' or '.join(allow)}.")
        self.allow = allow


class RequestTimeoutError(RequestError):
    """The announced body did not arrive in time."""

    code, status, title = "request_timeout", 408, "The request body did not arrive in time"


class BodyTooLargeError(RequestError):
    """The body is over the cap; it was not read whole."""

    code, status, title = "body_too_large", 413, "The body is too large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The body may have at most {limit_bytes} bytes.")
        self.limit_bytes = limit_bytes


class UnsupportedMediaTypeError(RequestError):
    """The body is not declared as JSON."""

    code, status, title = "unsupported_media_type", 415, "The body must be JSON"

    def __init__(self, content_type: str) -> None:
        said = f"{content_type[:80]!r} is not" if content_type else "the request names no type"
        super().__init__(f"Send Content-Type: application/json; {said}.")


class InvalidInputError(RequestError):
    """The input breaks its model; ``problems`` has a place and a sentence for each fault.

    The place is a JSON pointer (RFC 6901) into the body, or the name of a query parameter.
    """

    code, title = "input_invalid", "What was sent is not valid"

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__(
            "; ".join(f"{where}: {what}" if where else what for where, what in problems)
        )
        self.problems = problems


class CursorInvalidError(RequestError):
    """The cursor is not one of ours, or belongs to another order."""

    code, title = "cursor_invalid", "That cursor names no place in this list"

    def __init__(self) -> None:
        super().__init__("The cursor is not one of this list's; start again without it.")


class CursorGoneError(RequestError):
    """The entry that the cursor names is no longer there, nor perhaps others after it."""

    code, status, title = "cursor_gone", 410, "That cursor is too old"

    def __init__(self) -> None:
        super().__init__(
            "Entries after it may have been removed, for their time was over or a backup was "
            "restored. Begin with after=start, and take what you know already as known."
        )


class NotThroughSiteError(RequestError):
    """The request did not come through the site; ``reason``, for the log only, says which check."""

    code, status, title = "not_through_site", 403, "The API is reached through its site only"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "Ask the site's own address; requests that come directly are not answered."
        )
        self.reason = reason


class StrangePageError(RequestError):
    """``usher dev`` was asked by a name, or by a page, that is not of this machine."""

    code, status, title = "strange_page", 403, "This is for pages of this machine only"


class PreconditionFailedError(RequestError):
    """``If-Match`` names another version than the record's: the record was changed meanwhile."""

    code, status, title = "precondition_failed", 412, "The record was changed meanwhile"

    def __init__(self, version: int) -> None:
        super().__init__(
            f'The record is at version "{version}" now. Read it again, and repeat your change.'
        )
        self.version = version


class TooManyRequestsError(RequestError):
    """The caller is over a rate limit; ``retry_after_seconds`` is the time to wait."""

    code, status, title = "too_many_requests", 429, "Too many requests"

    def __init__(self, wait_seconds: float) -> None:
        self.retry_after_seconds = max(1, int(wait_seconds + 0.999))
        super().__init__(f"Ask again in {self.retry_after_seconds} s.")


# --- callers of the API ------------------------------------------------------------------------


class UnauthenticatedError(UsherError):
    """The access token is missing or not good; ``reason``, for the log only, says which."""

    code, status, title = "unauthenticated", 401, "A valid access token is needed"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


class ForbiddenError(UsherError):
    """The caller has none of the roles of which this address needs one."""

    code, status, title = "forbidden", 403, "A role is needed here"

    def __init__(self, *roles: str) -> None:
        which = "the role" if len(roles) == 1 else "any of the roles"
        super().__init__(f"Your record does not have {which} {', '.join(map(repr, roles))}.")


class KeyForbiddenError(UsherError):
    """The key does not open this address; ``scope`` is the one it lacks, empty: no key has it."""

    code, status, title = "key_forbidden", 403, "This key does not open that"

    def __init__(self, scope: str = "", detail: str = "") -> None:
        needed = f"It needs the scope {scope!r}." if scope else "No key does; it is for people."
        super().__init__(detail or needed)
        self.scope = scope


class AccountSuspendedError(UsherError):
    """The caller's record is suspended."""

    code, status, title = "account_suspended", 403, "This account is suspended"


class AccountDeletedError(UsherError):
    """The caller's record is a tombstone."""

    code, status, title = "account_deleted", 403, "This account was deleted"


class AccountWaitingError(UsherError):
    """The caller waits for an administrator's approval."""

    code, status, title = "account_waiting", 403, "This account waits for approval"

    def __init__(self) -> None:
        super().__init__(
            "An administrator has to approve this account first. Until then only /me and "
            "/me/requests are open."
        )


class GuardError(UsherError):
    """A guard cannot tell who the caller is: nobody could be asked, or the answer is nonsense."""

    code, status, title = "guard_unavailable", 503, "It cannot be told who you are"


class IdentityUnavailableError(UsherError):
    """Identity cannot be asked: not configured, away, slow, or talking nonsense."""

    code, status, title = "identity_unavailable", 503, "Identity could not be asked"


class BridgeError(IdentityUnavailableError):
    """The bridge on Netlify did not carry out a call.

    ``fault``: ``unreachable``, ``absent``, ``closed``, ``signature``, or another code of its own.
    """

    code, title = "bridge_failed", "The bridge to Identity did not do what was asked"

    def __init__(self, detail: str = "", fault: str = "") -> None:
        super().__init__(detail)
        self.fault = fault


class IdentityCredentialsError(IdentityUnavailableError):
    """Identity's admin API does not accept our credentials."""

    code, title = "identity_credentials", "Identity does not accept Usher as an administrator"


class OutOfTimeError(IdentityUnavailableError):
    """Identity was not called: the invocation of a function would end before the answer came."""


class PlatformTokenError(IdentityCredentialsError):
    """No token of the platform came with this invocation, or Identity does not accept it."""

    code, title = "platform_token", "Netlify gave no token that Identity accepts"


class IdentityNotConfiguredError(UsherError):
    """The request needs Identity's API, and its address or credentials are not set."""

    code, status, title = "identity_not_configured", 409, "This needs Identity's API"


class IdentityAccountMissingError(UsherError):
    """Identity has no account with the id of our record."""

    code, status, title = "identity_account_missing", 409, "Identity has no such account"


class IdentityRolesUnreadableError(UsherError):
    """The account's ``roles`` at Identity is no list of names, and is not written over."""

    code, status = "identity_roles_unreadable", 409
    title = "The roles at Identity cannot be read"


class IdentityAccountUnreadableError(UsherError):
    """Identity has the account, and its answer cannot be read; others may be well.

    ``trouble`` is ``form``, ``too_large`` or ``no_answer``.
    """

    code, status, title = "identity_account_unreadable", 502, "That account cannot be read"

    def __init__(self, detail: str, trouble: str = "form") -> None:
        super().__init__(detail)
        self.trouble = trouble


class IdentityAnswerTooLargeError(IdentityAccountUnreadableError):
    """An answer of Identity is larger than is read; ``start`` holds its first bytes, if any."""

    code, title = "identity_answer_too_large", "Identity's answer is too large"

    def __init__(self, detail: str, start: bytes = b"") -> None:
        super().__init__(detail, "too_large")
        self.start = start


class IdentityRefusedError(UsherError):
    """Identity refused our request."""

    code, status, title = "identity_refused", 409, "Identity refused"


class ObservingError(UsherError):
    """Identity cannot be told anything: Usher only observes."""

    code, status, title = "observing", 409, "Usher only observes"


class SyncRunningError(UsherError):
    """Another process holds the lease of a sync, or held it until it died.

    ``until`` is the end of the lease, unless that process renews it.
    """

    code, status, title = "sync_running", 409, "Another sync is under way"

    def __init__(self, detail: str, until: object = None) -> None:
        super().__init__(detail)
        self.until = until


class SyncStrangerError(UsherError):
    """Identity's accounts and our records have nobody in common."""

    code, status, title = "sync_stranger", 409, "This looks like another Identity"


class SyncRemovalsError(UsherError):
    """A sync would remove more than it may without a second consent (docs/sync.md)."""

    code, status, title = "sync_removals", 409, "Too much would be removed"


class InstanceUnknownError(UsherError):
    """The Identity instance of the accounts is not known yet, so that nothing can be written."""

    code, status, title = "instance_unknown", 409, "The Identity instance is not known yet"

    def __init__(self) -> None:
        super().__init__(
            "No event of Identity has come yet, so nothing can be kept about an account. Log out "
            "and in again: Identity then sends one. An administrator can also set "
            "USHER_INSTANCE_ID (usher instance says more)."
        )


# --- signatures: 401, one generic body; ``check`` goes to the log only --------------------------


class Check(StrEnum):
    """The checks of a signature, in their order; the log gives the failed one as ``reason``."""

    SIGNATURE_MISSING = "signature_missing"  # no X-Webhook-Signature header, or an empty one
    SIGNATURE_REPEATED = "signature_repeated"  # more than one
    TOKEN_TOO_LARGE = "token_too_large"  # noqa: S105 - more than 4 KiB
    TOKEN_SHAPE = "token_shape"  # noqa: S105 - not exactly three non-empty segments
    TOKEN_ENCODING = "token_encoding"  # noqa: S105 - not canonical base64url (RFC 4648, 3.5)
    TOKEN_JSON = "token_json"  # noqa: S105 - header or payload is not a strict JSON object
    ALGORITHM = "algorithm"  # ``alg`` is anything but the string HS256
    CRITICAL_HEADER = "critical_header"  # ``crit``, ``b64`` or ``zip``: not implemented on purpose
    SIGNATURE_MISMATCH = "signature_mismatch"  # no configured secret made it
    CLAIM_ISS = "claim_iss"  # not ``gotrue``: a user's access token, for instance
    CLAIM_SUB = "claim_sub"  # not a UUID string
    CLAIM_IAT = "claim_iat"  # missing, or not an integer
    STALE = "stale"  # ``iat`` lies further back than the tolerance
    FUTURE = "future"  # ``iat`` lies further ahead than the tolerance
    CLAIM_EXP = "claim_exp"  # passed, or not a number
    CLAIM_NBF = "claim_nbf"  # ahead, or not a number
    CLAIM_SHA256 = "claim_sha256"  # missing, or not the digest of the body


class SignatureError(UsherError):
    """A JWS was refused. Callers learn nothing more than that (docs/security.md).

    ``fact`` stands beside the check in the log, such as "412 s old". ``mark`` says what a refused
    event looks like (``usher.core.domain.refused_events``); empty: like no event of Identity's.
    """

    code, status, title = "signature_invalid", 401, "The signature was not accepted"

    def __init__(self, check: Check, fact: str = "") -> None:
        super().__init__()
        self.check = check
        self.fact = fact
        self.mark = ""


# --- event bodies: 400 after a good signature, kept in the ledger as invalid --------------------


class BodyError(UsherError):
    """A well-signed body is no readable event; ``pointer`` is a JSON pointer (RFC 6901)."""

    code, status, title = "body_invalid", 400, "The event cannot be read"

    def __init__(self, problem: str, pointer: str = "") -> None:
        super().__init__(f"{pointer}: {problem}" if pointer else problem)
        self.problem = problem
        self.pointer = pointer


class BodyJsonError(BodyError):
    """The body is not a strict UTF-8 JSON object."""

    code = "body_json"


class BodyFieldError(BodyError):
    """A field of the event is missing or has the wrong type."""

    code = "body_field"


class InstanceMismatchError(BodyError):
    """``instance_id`` in the body is not the signed ``sub``."""

    code = "instance_mismatch"

    def __init__(self) -> None:
        super().__init__("is not the instance that signed the event", "/instance_id")


class EventMismatchError(BodyError):
    """The URL does not take this event."""

    code = "event_mismatch"

    def __init__(self, event: str) -> None:
        super().__init__(f"this address does not take the event {event[:40]!r}", "/event")


# --- decisions and records ---------------------------------------------------------------------


class DeniedError(UsherError):
    """The person may not enter; ``detail`` is the sentence of the rule that refused."""

    code, status, title = "denied", 403, "Not admitted"


class UserNotFoundError(UsherError):
    """No record has this id or address."""

    code, status, title = "user_not_found", 404, "There is no such user"


class AmbiguousUserError(UsherError):
    """Several records fit; the caller must name one by its id."""

    code, status, title = "user_ambiguous", 409, "Several users fit"


class UserDeletedError(UsherError):
    """The record is a tombstone; nothing about it can change."""

    code, status, title = "user_deleted", 409, "The user is deleted"


class UserWaitingError(UsherError):
    """The user waits for approval, and is given a role in another way."""

    code, status, title = "user_waiting", 409, "The user waits for approval"

    def __init__(self) -> None:
        super().__init__(
            "This user waits for approval, and has no roles until then. Approve them with these "
            "roles: usher requests approve, or POST /requests/{id}/approve."
        )


class UserNotWaitingError(UsherError):
    """An approval of somebody who does not wait; ``status`` is that of the record."""

    code, status, title = "user_not_waiting", 409, "The user does not wait for approval"

    def __init__(self, found: str) -> None:
        super().__init__(f"The user is {found}, and does not wait for approval.")
        self.found = found


class RequestNotFoundError(UsherError):
    """There is no such request, or it is somebody else's."""

    code, status, title = "request_not_found", 404, "There is no such request"


class RequestDecidedError(UsherError):
    """The request was decided already; ``state`` says how."""

    code, status, title = "request_decided", 409, "The request is decided already"

    def __init__(self, state: str) -> None:
        super().__init__(f"The request was {state} already.")
        self.state = state


class RequestNotPossibleError(UsherError):
    """Somebody asks for what they have or cannot ask for, or takes back what stays."""

    code, status, title = "request_not_possible", 409, "That cannot be asked for"


class LastAdministratorError(UsherError):
    """The change would leave the site without an administrator."""

    code, status, title = "last_administrator", 409, "This is the last administrator"


class SeveralInstancesError(UsherError):
    """The records are of several Identity instances, and none is chosen; ``ids`` names them."""

    code = "several_instances"
    status = 503
    title = "It is not clear which Identity instance is meant"

    def __init__(self, ids: tuple[str, ...]) -> None:
        super().__init__(
            f"There are records of several Identity instances: {', '.join(ids)}. Set "
            "USHER_INSTANCE_ID to the one that is meant; usher instance shows what is of each."
        )
        self.ids = ids


class MetadataInvalidError(UsherError):
    """A profile or further app_metadata is too large, or sets a reserved key."""

    code, status, title = "metadata_invalid", 400, "That metadata cannot be kept"


class RoleInvalidError(UsherError):
    """A role's name is empty, too long, or not printable."""

    code, status, title = "role_invalid", 400, "That is not a role name"


class HandlersCircleError(UsherError):
    """Handlers write one record again and again, each because another one wrote."""

    code, status, title = "handlers_circle", 409, "Handlers write in a circle"

    def __init__(self, count: int, names: tuple[str, ...]) -> None:
        super().__init__(
            f"The last {count} changes of this person within an hour are all by handlers: "
            f"{', '.join(names)}. Each gets what another one wrote. A handler returns None where "
            "nothing is left to write."
        )


class CodeInvalidError(UsherError):
    """An invitation code cannot be made so."""

    code, status, title = "code_invalid", 400, "That is no invitation code"


class CodeNotFoundError(UsherError):
    """No invitation code has this id."""

    code, status, title = "code_not_found", 404, "There is no such invitation code"


class KeyInvalidError(UsherError):
    """A key cannot be made so."""

    code, status, title = "key_invalid", 400, "That is no key"


class KeyNotFoundError(UsherError):
    """No key has this name."""

    code, status, title = "key_not_found", 404, "There is no such key"


class KeyTakenError(UsherError):
    """Another key has this name, or had it before it was revoked."""

    code, status, title = "key_taken", 409, "There is such a key already"


class CodeTakenError(UsherError):
    """Another invitation code is spelled so, or was."""

    code, status, title = "code_taken", 409, "There is such a code already"


class SinkInvalidError(UsherError):
    """A sink cannot be made or changed so."""

    code, status, title = "sink_invalid", 400, "That is no sink"


class SinkNotFoundError(UsherError):
    """No sink has this id."""

    code, status, title = "sink_not_found", 404, "There is no such sink"


class WebhookError(UsherError):
    """A webhook was not answered; ``detail`` is shown to administrators, and holds no address."""

    code, status, title = "webhook_failed", 502, "The receiver of the webhook does not answer"


class DeliveryNotFoundError(UsherError):
    """The ledger has no such delivery."""

    code, status, title = "event_not_found", 404, "There is no such event"


class ChangeNotFoundError(UsherError):
    """The outbox has no change of this number: it was handed over, or skipped."""

    code, status, title = "change_not_found", 404, "There is no such change"


class ConsumerNotFoundError(UsherError):
    """The outbox knows no consumer, or none that can be forgotten, of this name."""

    code, status, title = "consumer_not_found", 404, "There is no such consumer"

    def __init__(self, consumer: str, *, forgets: bool = False) -> None:
        removes = " A sink is removed by itself (`usher sinks remove`)." if forgets else ""
        super().__init__(
            f"No {'handler' if forgets else 'consumer'} {consumer[:120]!r} is known here; the "
            f"outbox lists them (`usher outbox list`).{removes}"
        )


class ConsumerAtWorkError(UsherError):
    """A server works for this handler, which therefore is not forgotten."""

    code, status, title = "consumer_at_work", 409, "A server works for this handler"

    def __init__(self, consumer: str) -> None:
        super().__init__(
            f"A server worked for {consumer[:120]!r} within the last five minutes, so it would "
            "begin anew, and never get what waits for it. Take the function out of its module, or "
            "its module out of USHER_HANDLERS, start the servers again, and come back in five "
            "minutes. `usher outbox skip` drops single changes."
        )


class EventUnreadableError(UsherError):
    """The delivery's body was erased from the ledger, or was never readable."""

    code, status, title = "event_unreadable", 409, "That event cannot be read any more"


class CaptureError(UsherError):
    """A capture cannot be read or played back; ``problem`` says why, ``line`` where (from 1)."""

    code, status, title = "capture_invalid", 400, "The capture cannot be used"

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.problem = problem
        self.line = line


class ReplayTargetError(UsherError):
    """The target server of a replay cannot be reached, or its address is not valid."""

    code, status, title = "replay_target_failed", 502, "The target of the replay does not answer"
