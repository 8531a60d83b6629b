"""An answer is text from the moment it is decided, and can be read back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from usher.core.domain.reply import NO_CONTENT, Reply
from usher.core.errors import AccountSuspendedError, DeniedError


def test_what_identity_shall_take_over_is_the_whole_body() -> None:
    """In the order it was given in, as one line of JSON."""
    told = {"roles": ["a"], "plan": None, "name": "Ærø"}
    reply = Reply.telling(told)
    assert reply == Reply(
        200, "application/json", '{"app_metadata":{"roles":["a"],"plan":null,"name":"Ærø"}}'
    )
    assert reply.app_metadata == told


def test_a_refusal_is_a_problem_document() -> None:
    """Which tells Identity nothing but the refusal."""
    reply = Reply.refusing(DeniedError("Not you."))
    assert (reply.status, reply.content_type) == (403, "application/problem+json")
    assert '"detail":"Not you."' in reply.body
    assert reply.app_metadata is None


@pytest.mark.parametrize("reply", [NO_CONTENT, Reply(202), replace(NO_CONTENT, status=400)])
def test_an_answer_without_a_body_tells_nothing(reply: Reply) -> None:
    """Whatever its status."""
    assert (reply.content_type, reply.body, reply.app_metadata) == ("", "", None)


def test_door_reads_the_sentence_of_a_refusal_and_of_nothing_else() -> None:
    """Another 403 has a sentence of its own, which is not the policy's."""
    assert Reply.refusing(DeniedError("Not you.")).refusal == "Not you."
    assert Reply.refusing(DeniedError()).refusal == ""
    assert Reply.refusing(AccountSuspendedError("By somebody.")).refusal == ""
    assert NO_CONTENT.refusal == Reply.telling({"detail": "x"}).refusal == ""
