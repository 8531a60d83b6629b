"""The statements of an event, compiled; they need no SQLAlchemy.

Made by `python -m usher.core.store.compile_statements`, which names their parameters. Columns stand
in the order of the tables.
"""

# ruff: noqa: E501

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from usher.core.store.drivers.statement import Insert, Statement, rows_of

REPLIES: Final = Statement(
    "SELECT deliveries.id, deliveries.reply_status, deliveries.reply_type, deliveries.reply_body, deliveries.key_index, deliveries.outcome, deliveries.instance_id, deliveries.event, deliveries.received_at FROM deliveries WHERE deliveries.id IN (?...)",
    'SELECT deliveries.id, deliveries.reply_status, deliveries.reply_type, deliveries.reply_body, deliveries.key_index, deliveries.outcome, deliveries.instance_id, deliveries.event, deliveries.received_at FROM deliveries WHERE deliveries.id = ANY ($1::TEXT[] COLLATE "C")',
    lists=True,
    returns=rows_of(
        str,
        int,
        str,
        str,
        int,
        str,
        UUID,
        str,
        datetime,
    ),
)
REMOVE_DELIVERIES: Final = Statement(
    "DELETE FROM deliveries WHERE deliveries.id IN (?...)",
    'DELETE FROM deliveries WHERE deliveries.id = ANY ($1::TEXT[] COLLATE "C")',
    lists=True,
)
NEWEST_SEQUENCE: Final = Statement(
    "SELECT max(deliveries.sequence) AS max_1 FROM deliveries",
    "SELECT max(deliveries.sequence) AS max_1 FROM deliveries",
    returns=rows_of(
        int | None,
    ),
)
LOCK_USERS: Final = Statement(
    "SELECT users.id, users.email, users.email_key, users.provider, users.user_metadata, users.app_metadata, users.profile, users.extra_app_metadata, users.identity_state, users.created_at, users.updated_at, users.identity_created_at, users.confirmed_at, users.suspended_at, users.deleted_at, users.last_seen_at, users.applied_order, users.version FROM users WHERE users.instance_id = ? AND users.id IN (?...) ORDER BY users.id",
    "SELECT users.id, users.email, users.email_key, users.provider, CAST(users.user_metadata AS TEXT) AS user_metadata, CAST(users.app_metadata AS TEXT) AS app_metadata, CAST(users.profile AS TEXT) AS profile, CAST(users.extra_app_metadata AS TEXT) AS extra_app_metadata, CAST(users.identity_state AS TEXT) AS identity_state, users.created_at, users.updated_at, users.identity_created_at, users.confirmed_at, users.suspended_at, users.deleted_at, users.last_seen_at, users.applied_order, users.version FROM users WHERE users.instance_id = $1::UUID AND users.id = ANY ($2::UUID[]) ORDER BY users.id FOR UPDATE",
    lists=True,
    returns=rows_of(
        UUID,
        str,
        str,
        str,
        str,
        str,
        str,
        str,
        str,
        datetime,
        datetime,
        datetime | None,
        datetime | None,
        datetime | None,
        datetime | None,
        datetime,
        str,
        int,
    ),
)
FIND_USERS: Final = Statement(
    "SELECT users.id, users.email, users.email_key, users.provider, users.user_metadata, users.app_metadata, users.profile, users.extra_app_metadata, users.identity_state, users.created_at, users.updated_at, users.identity_created_at, users.confirmed_at, users.suspended_at, users.deleted_at, users.last_seen_at, users.applied_order, users.version FROM users WHERE users.instance_id = ? AND users.id IN (?...) ORDER BY users.id",
    "SELECT users.id, users.email, users.email_key, users.provider, CAST(users.user_metadata AS TEXT) AS user_metadata, CAST(users.app_metadata AS TEXT) AS app_metadata, CAST(users.profile AS TEXT) AS profile, CAST(users.extra_app_metadata AS TEXT) AS extra_app_metadata, CAST(users.identity_state AS TEXT) AS identity_state, users.created_at, users.updated_at, users.identity_created_at, users.confirmed_at, users.suspended_at, users.deleted_at, users.last_seen_at, users.applied_order, users.version FROM users WHERE users.instance_id = $1::UUID AND users.id = ANY ($2::UUID[]) ORDER BY users.id",
    lists=True,
    returns=rows_of(
        UUID,
        str,
        str,
        str,
        str,
        str,
        str,
        str,
        str,
        datetime,
        datetime,
        datetime | None,
        datetime | None,
        datetime | None,
        datetime | None,
        datetime,
        str,
        int,
    ),
)
USERS_OF_ADDRESS: Final = Statement(
    "SELECT users.id, users.email, users.email_key, users.provider, users.user_metadata, users.app_metadata, users.profile, users.extra_app_metadata, users.identity_state, users.created_at, users.updated_at, users.identity_created_at, users.confirmed_at, users.suspended_at, users.deleted_at, users.last_seen_at, users.applied_order, users.version FROM users WHERE users.instance_id = ? AND users.email_key = ? LIMIT 2",
    'SELECT users.id, users.email, users.email_key, users.provider, CAST(users.user_metadata AS TEXT) AS user_metadata, CAST(users.app_metadata AS TEXT) AS app_metadata, CAST(users.profile AS TEXT) AS profile, CAST(users.extra_app_metadata AS TEXT) AS extra_app_metadata, CAST(users.identity_state AS TEXT) AS identity_state, users.created_at, users.updated_at, users.identity_created_at, users.confirmed_at, users.suspended_at, users.deleted_at, users.last_seen_at, users.applied_order, users.version FROM users WHERE users.instance_id = $1::UUID AND users.email_key = $2::VARCHAR COLLATE "C" LIMIT 2',
    returns=rows_of(
        UUID,
        str,
        str,
        str,
        str,
        str,
        str,
        str,
        str,
        datetime,
        datetime,
        datetime | None,
        datetime | None,
        datetime | None,
        datetime | None,
        datetime,
        str,
        int,
    ),
)
GRANTS_OF: Final = Statement(
    "SELECT grants.user_id, grants.role, grants.source, grants.denies, grants.actor, grants.reason, grants.created_at, grants.expires_at FROM grants WHERE grants.instance_id = ? AND grants.user_id IN (?...) ORDER BY grants.user_id, grants.role, grants.source",
    "SELECT grants.user_id, grants.role, grants.source, grants.denies, grants.actor, grants.reason, grants.created_at, grants.expires_at FROM grants WHERE grants.instance_id = $1::UUID AND grants.user_id = ANY ($2::UUID[]) ORDER BY grants.user_id, grants.role, grants.source",
    lists=True,
    returns=rows_of(
        UUID,
        str,
        str,
        int | bool,
        str,
        str,
        datetime,
        datetime | None,
    ),
)
DELETE_GRANT: Final = Statement(
    "DELETE FROM grants WHERE grants.instance_id = ? AND grants.user_id = ? AND grants.role = ? AND grants.source = ?",
    "DELETE FROM grants WHERE grants.instance_id = $1::UUID AND grants.user_id = $2::UUID AND grants.role = $3::VARCHAR AND grants.source = $4::VARCHAR",
)
ENDED_GRANTS: Final = Statement(
    "SELECT grants.instance_id, grants.user_id FROM grants WHERE grants.expires_at <= ? LIMIT ?",
    "SELECT grants.instance_id, grants.user_id FROM grants WHERE grants.expires_at <= $1::TIMESTAMP WITH TIME ZONE LIMIT $2",
    returns=rows_of(
        UUID,
        UUID,
    ),
)
DELETE_PUSH: Final = Statement(
    "DELETE FROM pushes WHERE pushes.instance_id = ? AND pushes.user_id = ?",
    "DELETE FROM pushes WHERE pushes.instance_id = $1::UUID AND pushes.user_id = $2::UUID",
)
CLOSE_ENTRY: Final = Statement(
    "UPDATE requests SET state='approved', actor=?, decided_at=? WHERE requests.instance_id = ? AND requests.user_id = ? AND requests.role IS NULL AND requests.state = 'open'",
    "UPDATE requests SET state='approved', actor=$1::VARCHAR, decided_at=$2::TIMESTAMP WITH TIME ZONE WHERE requests.instance_id = $3::UUID AND requests.user_id = $4::UUID AND requests.role IS NULL AND requests.state = 'open'",
)
DELETE_REQUESTS: Final = Statement(
    "DELETE FROM requests WHERE requests.instance_id = ? AND requests.user_id = ?",
    "DELETE FROM requests WHERE requests.instance_id = $1::UUID AND requests.user_id = $2::UUID",
)
ERASE_OUTBOX: Final = Statement(
    "UPDATE outbox SET error='' WHERE outbox.instance_id = ? AND outbox.user_id = ? AND outbox.error != ''",
    "UPDATE outbox SET error='' WHERE outbox.instance_id = $1::UUID AND outbox.user_id = $2::UUID AND outbox.error != ''",
)
LOCK_CODES: Final = Statement(
    "SELECT codes.id, codes.digest, codes.label, codes.allowed, codes.used, codes.roles, codes.roles_until, codes.ends_at, codes.created_at, codes.created_by, codes.revoked_at FROM codes WHERE codes.digest IN (?...) ORDER BY codes.digest",
    "SELECT codes.id, codes.digest, codes.label, codes.allowed, codes.used, CAST(codes.roles AS TEXT) AS roles, codes.roles_until, codes.ends_at, codes.created_at, codes.created_by, codes.revoked_at FROM codes WHERE codes.digest = ANY ($1::VARCHAR(64)[]) ORDER BY codes.digest FOR UPDATE",
    lists=True,
    returns=rows_of(
        UUID,
        str,
        str,
        int,
        int,
        str,
        datetime | None,
        datetime | None,
        datetime,
        str,
        datetime | None,
    ),
)
FIND_CODES: Final = Statement(
    "SELECT codes.id, codes.digest, codes.label, codes.allowed, codes.used, codes.roles, codes.roles_until, codes.ends_at, codes.created_at, codes.created_by, codes.revoked_at FROM codes WHERE codes.digest IN (?...)",
    "SELECT codes.id, codes.digest, codes.label, codes.allowed, codes.used, CAST(codes.roles AS TEXT) AS roles, codes.roles_until, codes.ends_at, codes.created_at, codes.created_by, codes.revoked_at FROM codes WHERE codes.digest = ANY ($1::VARCHAR(64)[])",
    lists=True,
    returns=rows_of(
        UUID,
        str,
        str,
        int,
        int,
        str,
        datetime | None,
        datetime | None,
        datetime,
        str,
        datetime | None,
    ),
)
USE_CODE: Final = Statement(
    "UPDATE codes SET used=(codes.used + ?) WHERE codes.id = ?",
    "UPDATE codes SET used=(codes.used + $1::INTEGER) WHERE codes.id = $2::UUID",
)
USES_OF: Final = Statement(
    "SELECT code_uses.user_id, code_uses.code_id FROM code_uses WHERE code_uses.instance_id = ? AND code_uses.user_id IN (?...)",
    "SELECT code_uses.user_id, code_uses.code_id FROM code_uses WHERE code_uses.instance_id = $1::UUID AND code_uses.user_id = ANY ($2::UUID[])",
    lists=True,
    returns=rows_of(
        UUID,
        UUID,
    ),
)
LOCK_TALLIES: Final = Statement(
    "SELECT tallies.place, tallies.people FROM tallies WHERE tallies.instance_id = ? AND tallies.place IN (?...) ORDER BY tallies.place",
    'SELECT tallies.place, tallies.people FROM tallies WHERE tallies.instance_id = $1::UUID AND tallies.place = ANY ($2::TEXT[] COLLATE "C") ORDER BY tallies.place FOR UPDATE',
    lists=True,
    returns=rows_of(
        str,
        int,
    ),
)
FIND_TALLIES: Final = Statement(
    "SELECT tallies.place, tallies.people FROM tallies WHERE tallies.instance_id = ? AND tallies.place IN (?...)",
    'SELECT tallies.place, tallies.people FROM tallies WHERE tallies.instance_id = $1::UUID AND tallies.place = ANY ($2::TEXT[] COLLATE "C")',
    lists=True,
    returns=rows_of(
        str,
        int,
    ),
)
ADOPTED: Final = Statement(
    "SELECT instances.instance_id, instances.how FROM instances WHERE instances.slot = 1",
    "SELECT instances.instance_id, instances.how FROM instances WHERE instances.slot = 1",
    returns=rows_of(
        UUID,
        str,
    ),
)
NEWEST_INSTANCE: Final = Statement(
    "SELECT deliveries.instance_id FROM deliveries ORDER BY deliveries.sequence DESC LIMIT 1",
    "SELECT deliveries.instance_id FROM deliveries ORDER BY deliveries.sequence DESC LIMIT 1",
    returns=rows_of(
        UUID,
    ),
)
FIRST_INSTANCE_OF_USERS: Final = Statement(
    "SELECT users.instance_id FROM users WHERE users.instance_id >= ? ORDER BY users.instance_id LIMIT 1",
    "SELECT users.instance_id FROM users WHERE users.instance_id >= $1::UUID ORDER BY users.instance_id LIMIT 1",
    returns=rows_of(
        UUID,
    ),
)
NEXT_INSTANCE_OF_USERS: Final = Statement(
    "SELECT users.instance_id FROM users WHERE users.instance_id > ? ORDER BY users.instance_id LIMIT 1",
    "SELECT users.instance_id FROM users WHERE users.instance_id > $1::UUID ORDER BY users.instance_id LIMIT 1",
    returns=rows_of(
        UUID,
    ),
)
FIRST_INSTANCE_OF_DELIVERIES: Final = Statement(
    "SELECT deliveries.instance_id FROM deliveries WHERE deliveries.instance_id >= ? ORDER BY deliveries.instance_id LIMIT 1",
    "SELECT deliveries.instance_id FROM deliveries WHERE deliveries.instance_id >= $1::UUID ORDER BY deliveries.instance_id LIMIT 1",
    returns=rows_of(
        UUID,
    ),
)
NEXT_INSTANCE_OF_DELIVERIES: Final = Statement(
    "SELECT deliveries.instance_id FROM deliveries WHERE deliveries.instance_id > ? ORDER BY deliveries.instance_id LIMIT 1",
    "SELECT deliveries.instance_id FROM deliveries WHERE deliveries.instance_id > $1::UUID ORDER BY deliveries.instance_id LIMIT 1",
    returns=rows_of(
        UUID,
    ),
)
FIRST_INSTANCE_OF_AUDIT: Final = Statement(
    "SELECT audit.instance_id FROM audit WHERE audit.instance_id >= ? ORDER BY audit.instance_id LIMIT 1",
    "SELECT audit.instance_id FROM audit WHERE audit.instance_id >= $1::UUID ORDER BY audit.instance_id LIMIT 1",
    returns=rows_of(
        UUID,
    ),
)
NEXT_INSTANCE_OF_AUDIT: Final = Statement(
    "SELECT audit.instance_id FROM audit WHERE audit.instance_id > ? ORDER BY audit.instance_id LIMIT 1",
    "SELECT audit.instance_id FROM audit WHERE audit.instance_id > $1::UUID ORDER BY audit.instance_id LIMIT 1",
    returns=rows_of(
        UUID,
    ),
)
REMOVE_COUNTERS: Final = Statement(
    "DELETE FROM counters WHERE counters.instance_id = ? AND counters.name >= ? AND counters.name < ?",
    'DELETE FROM counters WHERE counters.instance_id = $1::UUID AND counters.name >= $2::VARCHAR COLLATE "C" AND counters.name < $3::VARCHAR COLLATE "C"',
)
AUDIT_OF: Final = Statement(
    'SELECT audit.sequence, audit."before", audit."after" FROM audit WHERE audit.instance_id = ? AND audit.user_id = ?',
    "SELECT audit.sequence, CAST(audit.before AS TEXT) AS before, CAST(audit.after AS TEXT) AS after FROM audit WHERE audit.instance_id = $1::UUID AND audit.user_id = $2::UUID",
    returns=rows_of(
        int,
        str | None,
        str,
    ),
)
REWRITE_AUDIT: Final = Statement(
    'UPDATE audit SET "before"=?, "after"=?, reason=? WHERE audit.sequence = ?',
    "UPDATE audit SET before=$1::JSON, after=$2::JSON, reason=$3::VARCHAR WHERE audit.sequence = $4::BIGINT",
)
ERASE_BODIES: Final = Statement(
    "UPDATE deliveries SET body=NULL, address_key=NULL WHERE deliveries.instance_id = ? AND deliveries.user_id = ?",
    "UPDATE deliveries SET body=NULL, address_key=NULL WHERE deliveries.instance_id = $1::UUID AND deliveries.user_id = $2::UUID",
)
ERASE_REPLIES: Final = Statement(
    "UPDATE deliveries SET reply_status=204, reply_type='', reply_body='' WHERE deliveries.instance_id = ? AND deliveries.user_id = ? AND deliveries.reply_status = 200",
    "UPDATE deliveries SET reply_status=204, reply_type='', reply_body='' WHERE deliveries.instance_id = $1::UUID AND deliveries.user_id = $2::UUID AND deliveries.reply_status = 200",
)
ERASE_FAILURES: Final = Statement(
    "UPDATE deliveries SET reasons=? WHERE deliveries.instance_id = ? AND deliveries.user_id = ? AND deliveries.outcome = 'failed'",
    "UPDATE deliveries SET reasons=$1::JSON WHERE deliveries.instance_id = $2::UUID AND deliveries.user_id = $3::UUID AND deliveries.outcome = 'failed'",
)
INTO_USERS: Final = Insert(
    "users",
    (
        "instance_id",
        "id",
        "status",
        "email",
        "email_key",
        "provider",
        "user_metadata",
        "app_metadata",
        "profile",
        "extra_app_metadata",
        "identity_state",
        "created_at",
        "updated_at",
        "identity_created_at",
        "confirmed_at",
        "suspended_at",
        "deleted_at",
        "last_seen_at",
        "applied_order",
        "version",
    ),
    (
        "instance_id",
        "id",
    ),
    "INSERT INTO users (instance_id, id, status, email, email_key, provider, user_metadata, app_metadata, profile, extra_app_metadata, identity_state, created_at, updated_at, identity_created_at, confirmed_at, suspended_at, deleted_at, last_seen_at, applied_order, version) SELECT r.instance_id, r.id, r.status, r.email, r.email_key, r.provider, r.user_metadata::json, r.app_metadata::json, r.profile::json, r.extra_app_metadata::json, r.identity_state::json, r.created_at, r.updated_at, r.identity_created_at, r.confirmed_at, r.suspended_at, r.deleted_at, r.last_seen_at, r.applied_order, r.version FROM json_to_recordset($1::json) AS r(instance_id UUID, id UUID, status VARCHAR(16), email TEXT, email_key TEXT, provider TEXT, user_metadata TEXT, app_metadata TEXT, profile TEXT, extra_app_metadata TEXT, identity_state TEXT, created_at TIMESTAMP WITH TIME ZONE, updated_at TIMESTAMP WITH TIME ZONE, identity_created_at TIMESTAMP WITH TIME ZONE, confirmed_at TIMESTAMP WITH TIME ZONE, suspended_at TIMESTAMP WITH TIME ZONE, deleted_at TIMESTAMP WITH TIME ZONE, last_seen_at TIMESTAMP WITH TIME ZONE, applied_order TEXT, version INTEGER)",
)
INTO_GRANTS: Final = Insert(
    "grants",
    (
        "instance_id",
        "user_id",
        "role",
        "source",
        "denies",
        "actor",
        "reason",
        "created_at",
        "expires_at",
    ),
    (
        "instance_id",
        "user_id",
        "role",
        "source",
    ),
    "INSERT INTO grants (instance_id, user_id, role, source, denies, actor, reason, created_at, expires_at) SELECT r.instance_id, r.user_id, r.role, r.source, r.denies, r.actor, r.reason, r.created_at, r.expires_at FROM json_to_recordset($1::json) AS r(instance_id UUID, user_id UUID, role VARCHAR(100), source VARCHAR(16), denies BOOLEAN, actor TEXT, reason TEXT, created_at TIMESTAMP WITH TIME ZONE, expires_at TIMESTAMP WITH TIME ZONE)",
)
INTO_DELIVERIES: Final = Insert(
    "deliveries",
    (
        "id",
        "instance_id",
        "event",
        "user_id",
        "issued_at",
        "received_at",
        "path",
        "body",
        "body_digest",
        "key_index",
        "outcome",
        "reasons",
        "policy",
        "origin",
        "reply_status",
        "reply_type",
        "reply_body",
        "address_key",
    ),
    ("sequence",),
    "INSERT INTO deliveries (id, instance_id, event, user_id, issued_at, received_at, path, body, body_digest, key_index, outcome, reasons, policy, origin, reply_status, reply_type, reply_body, address_key) SELECT r.id, r.instance_id, r.event, r.user_id, r.issued_at, r.received_at, r.path, decode(r.body, 'base64'), r.body_digest, r.key_index, r.outcome, r.reasons::json, r.policy, r.origin, r.reply_status, r.reply_type, r.reply_body, r.address_key FROM json_to_recordset($1::json) AS r(id TEXT, instance_id UUID, event TEXT, user_id UUID, issued_at BIGINT, received_at TIMESTAMP WITH TIME ZONE, path TEXT, body TEXT, body_digest VARCHAR(64), key_index INTEGER, outcome VARCHAR(16), reasons TEXT, policy VARCHAR(12), origin VARCHAR(8), reply_status INTEGER, reply_type TEXT, reply_body TEXT, address_key TEXT)",
)
INTO_AUDIT: Final = Insert(
    "audit",
    (
        "instance_id",
        "user_id",
        "at",
        "actor",
        "action",
        "delivery_id",
        "ledger_position",
        "before",
        "after",
        "reason",
    ),
    ("sequence",),
    "INSERT INTO audit (instance_id, user_id, at, actor, action, delivery_id, ledger_position, before, after, reason) SELECT r.instance_id, r.user_id, r.at, r.actor, r.action, r.delivery_id, r.ledger_position, r.before::json, r.after::json, r.reason FROM json_to_recordset($1::json) AS r(instance_id UUID, user_id UUID, at TIMESTAMP WITH TIME ZONE, actor TEXT, action TEXT, delivery_id VARCHAR(72), ledger_position BIGINT, before TEXT, after TEXT, reason TEXT)",
)
INTO_PUSHES: Final = Insert(
    "pushes",
    (
        "instance_id",
        "user_id",
        "since",
        "tries",
        "next_try_at",
        "lease",
        "error",
    ),
    (
        "instance_id",
        "user_id",
    ),
    "INSERT INTO pushes (instance_id, user_id, since, tries, next_try_at, lease, error) SELECT r.instance_id, r.user_id, r.since, r.tries, r.next_try_at, r.lease, r.error FROM json_to_recordset($1::json) AS r(instance_id UUID, user_id UUID, since TIMESTAMP WITH TIME ZONE, tries INTEGER, next_try_at TIMESTAMP WITH TIME ZONE, lease UUID, error TEXT)",
)
INTO_REQUESTS: Final = Insert(
    "requests",
    (
        "instance_id",
        "user_id",
        "role",
        "reason",
        "state",
        "message",
        "actor",
        "created_at",
        "decided_at",
    ),
    ("id",),
    "INSERT INTO requests (instance_id, user_id, role, reason, state, message, actor, created_at, decided_at) SELECT r.instance_id, r.user_id, r.role, r.reason, r.state, r.message, r.actor, r.created_at, r.decided_at FROM json_to_recordset($1::json) AS r(instance_id UUID, user_id UUID, role VARCHAR(100), reason TEXT, state VARCHAR(16), message TEXT, actor TEXT, created_at TIMESTAMP WITH TIME ZONE, decided_at TIMESTAMP WITH TIME ZONE)",
)
INTO_COUNTERS: Final = Insert(
    "counters",
    (
        "instance_id",
        "name",
        "shard",
        "value",
    ),
    (
        "instance_id",
        "name",
        "shard",
    ),
    "INSERT INTO counters (instance_id, name, shard, value) SELECT r.instance_id, r.name, r.shard, r.value FROM json_to_recordset($1::json) AS r(instance_id UUID, name TEXT, shard INTEGER, value BIGINT)",
)
INTO_INSTANCES: Final = Insert(
    "instances",
    (
        "slot",
        "instance_id",
        "how",
        "adopted_at",
        "delivery_id",
    ),
    ("slot",),
    "INSERT INTO instances (slot, instance_id, how, adopted_at, delivery_id) SELECT r.slot, r.instance_id, r.how, r.adopted_at, r.delivery_id FROM json_to_recordset($1::json) AS r(slot INTEGER, instance_id UUID, how VARCHAR(16), adopted_at TIMESTAMP WITH TIME ZONE, delivery_id VARCHAR(72))",
)
INTO_SYNC_MARKS: Final = Insert(
    "sync_marks",
    (
        "run_id",
        "user_id",
        "mark",
    ),
    (
        "run_id",
        "user_id",
    ),
    "INSERT INTO sync_marks (run_id, user_id, mark) SELECT r.run_id, r.user_id, r.mark FROM json_to_recordset($1::json) AS r(run_id UUID, user_id UUID, mark SMALLINT)",
)
INTO_CODE_USES: Final = Insert(
    "code_uses",
    (
        "instance_id",
        "user_id",
        "code_id",
        "used_at",
    ),
    (
        "instance_id",
        "user_id",
        "code_id",
    ),
    "INSERT INTO code_uses (instance_id, user_id, code_id, used_at) SELECT r.instance_id, r.user_id, r.code_id, r.used_at FROM json_to_recordset($1::json) AS r(instance_id UUID, user_id UUID, code_id UUID, used_at TIMESTAMP WITH TIME ZONE)",
)
INTO_TALLIES: Final = Insert(
    "tallies",
    (
        "instance_id",
        "place",
        "ends_at",
        "people",
    ),
    (
        "instance_id",
        "place",
    ),
    "INSERT INTO tallies (instance_id, place, ends_at, people) SELECT r.instance_id, r.place, r.ends_at, r.people FROM json_to_recordset($1::json) AS r(instance_id UUID, place TEXT, ends_at TIMESTAMP WITH TIME ZONE, people INTEGER)",
)
