"""A plain FastAPI + SQLModel receiver of Identity events, the Python peer of the benchmark.

Usage: python fastapi_receiver.py PORT DATABASE, with the secret in WEBHOOK_SECRET. DATABASE is a
file for SQLite, or the address of a PostgreSQL.
"""

import hashlib
import hmac
import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import jwt
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from sqlalchemy import JSON, Column, Engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Field, Session, SQLModel, create_engine

TOLERANCE_SECONDS = 300
CONNECTIONS = 16
"""To PostgreSQL, one for each thread that has something to write."""
EVENTS = {"validate", "signup", "login", "usermodified", "userdeleted"}


class User(SQLModel, table=True):
    """A person, as last reported by Identity."""

    id: str = Field(primary_key=True)
    email: str = Field(index=True)
    app_metadata: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    user_metadata: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON))
    status: str = "active"
    created_at: datetime
    updated_at: datetime


class Delivery(SQLModel, table=True):
    """One event received; its id makes a retry harmless."""

    id: str = Field(primary_key=True)
    body: bytes
    outcome: str
    received_at: datetime


def make_engine(database: str) -> Engine:
    """A pool for PostgreSQL, or SQLite in WAL mode; both sync every commit to disk."""
    if database.startswith("postgresql"):
        return create_engine(database, pool_size=CONNECTIONS, max_overflow=0)
    engine = create_engine(f"sqlite:///{database}", connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # this module begins its transactions itself
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA busy_timeout=10000")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def make_tables(engine: Engine) -> None:
    """The tables and the index on addresses, where they are missing."""
    SQLModel.metadata.create_all(engine)


def verify(signature: str, body: bytes, secret: str) -> tuple[dict[str, Any], str]:
    """The claims of a good signature and the digest of the body, or 401."""
    digest = hashlib.sha256(body).hexdigest()
    try:
        claims = jwt.decode(
            signature,
            secret,
            algorithms=["HS256"],
            issuer="gotrue",
            options={"require": ["iat", "iss", "sub", "sha256"]},
            leeway=TOLERANCE_SECONDS,
        )
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "bad signature") from error
    if abs(time.time() - claims["iat"]) > TOLERANCE_SECONDS:
        raise HTTPException(401, "bad signature")
    if not hmac.compare_digest(str(claims["sha256"]).encode(), digest.encode()):
        raise HTTPException(401, "bad signature")
    return claims, digest


def parse(body: bytes) -> tuple[str, dict[str, Any]]:
    """The event's name and its user, or 400."""
    try:
        payload = json.loads(body)
        name, user = payload["event"], payload["user"]
        complete = isinstance(user["id"], str) and isinstance(user["email"], str)
        if name not in EVENTS or not complete:
            raise HTTPException(400, "bad body")
    except (ValueError, KeyError, TypeError) as error:
        raise HTTPException(400, "bad body") from error
    return name, user


def with_member(app_metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata with the role that every user gets."""
    return {**app_metadata, "roles": sorted({*app_metadata.get("roles", []), "member"})}


def store(
    engine: Engine,
    delivery_id: str,
    body: bytes,
    name: str,
    user: dict[str, Any],
    app_metadata: dict[str, Any],
) -> None:
    """Write the user and the delivery in one transaction; a retry changes nothing."""
    now = datetime.now(UTC)
    row = {
        "id": user["id"],
        "email": user["email"],
        "app_metadata": app_metadata,
        "user_metadata": user.get("user_metadata") or {},
        "status": "deleted" if name == "userdeleted" else "active",
        "updated_at": now,
    }
    delivery = {"id": delivery_id, "body": body, "outcome": "accepted", "received_at": now}
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    with Session(engine) as session:
        connection = session.connection()
        kept = connection.execute(insert(Delivery).values(delivery).on_conflict_do_nothing())
        if kept.rowcount:
            upsert = insert(User).values(**row, created_at=now)
            connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=row))
        session.commit()


def answer(engine: Engine, secret: str, body: bytes, signature: str) -> dict[str, Any]:
    """Check and store one event, and say what Identity shall put into the token."""
    claims, digest = verify(signature, body, secret)
    name, user = parse(body)
    identity = f"{claims['sub']},{name},{claims['iat']},{digest}"
    delivery_id = hashlib.sha256(identity.encode()).hexdigest()
    app_metadata = with_member(user.get("app_metadata") or {})
    store(engine, delivery_id, body, name, user, app_metadata)
    return {"app_metadata": app_metadata}


def make_app(engine: Engine, secret: str) -> FastAPI:
    """The application: one hook and a readiness probe."""
    app = FastAPI(openapi_url=None)

    @app.get("/readyz")
    def ready() -> dict[str, bool]:
        return {"ready": True}

    async def whole_body(request: Request) -> bytes:
        return await request.body()

    # SQLite has one writer, so threads would but wait for one another; PostgreSQL syncs the commits
    # of several connections together.
    if engine.dialect.name == "sqlite":

        @app.post("/hook")
        async def hook(
            body: Annotated[bytes, Depends(whole_body)],
            x_webhook_signature: Annotated[str, Header()] = "",
        ) -> dict[str, Any]:
            return answer(engine, secret, body, x_webhook_signature)
    else:

        @app.post("/hook")
        def hook_in_thread(
            body: Annotated[bytes, Depends(whole_body)],
            x_webhook_signature: Annotated[str, Header()] = "",
        ) -> dict[str, Any]:
            return answer(engine, secret, body, x_webhook_signature)

    return app


def main() -> None:
    """Serve with one worker; a missing uvloop or httptools is an error, not a slower run."""
    port, database = int(sys.argv[1]), sys.argv[2]
    engine = make_engine(database)
    make_tables(engine)
    app = make_app(engine, os.environ["WEBHOOK_SECRET"])
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
