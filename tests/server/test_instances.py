"""First events of two Identity instances at once, at real servers with several workers each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from uuid import UUID, uuid4

from tests.server.outages import StartServer
from tests.store.store_support import rows
from tests.support import Server, account, signed
from usher.core.store.database import Database

EACH = 4


def test_d1_first_events_at_two_servers_adopt_one(
    start_server: StartServer, database_url: str
) -> None:
    """Every worker of both says the same, then and after a restart."""
    servers = [start_server(database_url, "--workers", "2") for _ in range(2)]
    ids = [uuid4(), uuid4()]
    work = [(server, one) for server in servers for one in ids for _ in range(EACH)]
    start = Barrier(len(work))

    def post(server: Server, instance_id: UUID, start: Barrier | None) -> int:
        who, now = account(at=datetime.now(UTC)), datetime.now(UTC)
        delivery = signed("signup", who, at=now, instance_id=instance_id)
        if start is not None:
            start.wait(60)
        return server.post(delivery).status

    with ThreadPoolExecutor(len(work)) as pool:
        statuses = list(pool.map(lambda each: post(each[0], each[1], start), work))
    database = Database(database_url)
    ((kept,),) = rows(database, "SELECT instance_id FROM instances")
    adopted = UUID(str(kept))
    assert adopted in ids
    expected = {one: 200 if one == adopted else 401 for one in ids}
    assert statuses == [expected[one] for _, one in work]
    found = rows(database, "SELECT DISTINCT instance_id FROM users")
    assert [UUID(str(one)) for (one,) in found] == [adopted]
    servers.append(start_server(database_url))
    assert [post(each, one, None) for each in servers for one in ids] == [
        expected[one] for _ in servers for one in ids
    ]
    database.dispose()
