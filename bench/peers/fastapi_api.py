"""Usher's list and single-user endpoints in plain FastAPI + SQLModel, on Usher's own database.

Usage: python fastapi_api.py PORT DATABASE_FILE, with the secret of access tokens in JWT_SECRET.
"""

import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import JSON, Column, and_, or_
from sqlalchemy.orm import selectinload
from sqlmodel import Field, Relationship, Session, SQLModel, col, create_engine, select

SECRET = os.environ["JWT_SECRET"]
engine = create_engine(f"sqlite:///{sys.argv[2]}", connect_args={"check_same_thread": False})
app = FastAPI()
bearer = HTTPBearer()


class Grant(SQLModel, table=True):
    __tablename__ = "grants"
    instance_id: UUID = Field(primary_key=True)
    user_id: UUID = Field(primary_key=True, foreign_key="users.id")
    role: str = Field(primary_key=True)
    source: str = Field(primary_key=True)
    denies: bool
    actor: str
    reason: str
    created_at: str
    expires_at: str | None
    user: "User" = Relationship(back_populates="grants")


class UserFields(SQLModel):
    instance_id: UUID = Field(primary_key=True)
    id: UUID = Field(primary_key=True)
    status: str
    email: str
    provider: str
    created_at: str
    updated_at: str
    confirmed_at: str | None
    suspended_at: str | None
    deleted_at: str | None
    last_seen_at: str
    version: int


class User(UserFields, table=True):
    __tablename__ = "users"
    profile: dict[str, Any] = Field(sa_column=Column(JSON))
    user_metadata: dict[str, Any] = Field(sa_column=Column(JSON))
    app_metadata: dict[str, Any] = Field(sa_column=Column(JSON))
    extra_app_metadata: dict[str, Any] = Field(sa_column=Column(JSON))
    grants: list[Grant] = Relationship(back_populates="user")


class GrantOut(SQLModel):
    role: str
    source: str
    denies: bool
    actor: str
    reason: str
    created_at: datetime
    expires_at: datetime | None


class UserOut(SQLModel):
    instance_id: UUID
    id: UUID
    status: str
    email: str
    provider: str
    roles: list[str]
    profile: dict[str, Any]
    user_metadata: dict[str, Any]
    app_metadata: dict[str, Any]
    extra_app_metadata: dict[str, Any]
    grants: list[GrantOut]
    created_at: datetime
    updated_at: datetime
    confirmed_at: datetime | None
    suspended_at: datetime | None
    deleted_at: datetime | None
    last_seen_at: datetime
    version: int


class UserList(SQLModel):
    users: list[UserOut]
    next_cursor: str | None


def get_session() -> Any:
    with Session(engine) as session:
        yield session


Database = Annotated[Session, Depends(get_session)]


def roles_of(user: User) -> list[str]:
    now = datetime.now(UTC)
    live = [
        g for g in user.grants if not g.expires_at or datetime.fromisoformat(g.expires_at) > now
    ]
    denied = {grant.role for grant in live if grant.denies}
    return sorted({grant.role for grant in live if not grant.denies} - denied)


def administrator(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)], session: Database
) -> User:
    try:
        claims = jwt.decode(
            credentials.credentials,
            SECRET,
            algorithms=["HS256"],
            options={"require": ["exp", "sub"], "verify_aud": False},
        )
    except jwt.InvalidTokenError as error:
        raise HTTPException(401) from error
    user = session.get(User, (UUID(int=0), UUID(claims["sub"])))
    if user is None or user.status != "active" or "admin" not in roles_of(user):
        raise HTTPException(403)
    return user


def shown(user: User) -> UserOut:
    return UserOut.model_validate(
        {
            **user.model_dump(),
            "roles": roles_of(user),
            "grants": [grant.model_dump() for grant in user.grants],
        }
    )


@app.get("/api/users")
def list_users(
    session: Database,
    _: Annotated[User, Depends(administrator)],
    limit: int = 50,
    cursor: str | None = None,
) -> UserList:
    query = select(User).where(User.instance_id == UUID(int=0))
    if cursor:
        created, _separator, user_id = cursor.partition("~")
        query = query.where(
            or_(
                col(User.created_at) > created,
                and_(col(User.created_at) == created, col(User.id) > UUID(user_id)),
            )
        )
    query = query.order_by(col(User.created_at), col(User.id)).limit(limit + 1)
    query = query.options(selectinload(User.grants))  # type: ignore[arg-type] # SQLModel's list
    rows = session.exec(query).all()
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    return UserList(
        users=[shown(user) for user in rows[:limit]],
        next_cursor=f"{last.created_at}~{last.id}" if last else None,
    )


@app.get("/api/users/{user_id}")
def get_user(
    user_id: UUID, session: Database, _: Annotated[User, Depends(administrator)]
) -> UserOut:
    user = session.get(User, (UUID(int=0), user_id))
    if user is None:
        raise HTTPException(404)
    return shown(user)


@app.get("/readyz")
def ready() -> Response:
    return Response("ok")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
