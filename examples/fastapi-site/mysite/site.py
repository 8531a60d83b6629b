"""The site's own endpoints."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, FastAPI

from usher.integrations.fastapi import Caller, require_role, signed_in

app = FastAPI()


@app.get("/account")
def account(caller: Annotated[Caller, Depends(signed_in)]) -> dict[str, Any]:
    """The person who is signed in."""
    return {"email": caller.email, "roles": sorted(caller.roles)}


@app.get("/drafts", dependencies=[Depends(require_role("editor"))])
def drafts() -> dict[str, Any]:
    """Texts that only editors see."""
    return {"drafts": ["Spring sale"]}
