"""Times and ids in documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.documents import user_document, utc
from usher.core.domain.records import Grant, Source, User
from usher.core.strict_json import dumps


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_written_as_python_writes_it_with_z(moment: datetime) -> None:
    """No fraction, or six digits of one."""
    assert utc(moment) == moment.isoformat().replace("+00:00", "Z")


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_document_s_times_and_ids_are_written_as_texts(moment: datetime, one: UUID) -> None:
    """By the writer of JSON, in the same spelling as anywhere else."""
    user = User(one, one, moment, moment, grants=(Grant("member", Source.POLICY, moment),))
    written = json.loads(dumps(user_document(user, moment)))
    assert (written["id"], written["instance_id"]) == (str(one), str(one))
    assert written["created_at"] == written["grants"][0]["created_at"] == utc(moment)
    assert written["deleted_at"] is None


def test_no_time_stays_none() -> None:
    """It is null in JSON."""
    assert utc(None) is None
