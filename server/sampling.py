"""Sampling of traces: decided here, by ``OTEL_TRACES_SAMPLER``, and never by the client.

Needs the extra ``traces``.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, SamplingResult


def decided_here(sampler: Sampler) -> Sampler:
    """Ask ``sampler`` as for a new trace, even if a request belongs to a client's trace.

    Spans within a span of ours are kept with it.
    """
    blind = _Blind(sampler)
    return ParentBased(sampler, remote_parent_sampled=blind, remote_parent_not_sampled=blind)


class _Blind(Sampler):
    """Hides the parent's flag and trace id from a sampler: the client chooses both."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._ids = RandomIdGenerator()

    def should_sample(
        self,
        parent_context: Context | None,  # noqa: ARG002
        trace_id: int,  # noqa: ARG002
        name: str,
        *rest: Any,
        **further: Any,
    ) -> SamplingResult:
        own = self._ids.generate_trace_id()
        return self._sampler.should_sample(Context(), own, name, *rest, **further)

    def get_description(self) -> str:
        return self._sampler.get_description()
