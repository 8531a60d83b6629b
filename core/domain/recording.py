"""A policy that remembers its questions and answers. Pure."""

from __future__ import annotations

from usher.core.domain.events import Event
from usher.core.domain.policy import Applicant, Policy, Verdict


class RecordingPolicy:
    """A policy that records its questions and verdicts of one event."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.verdicts: list[tuple[Applicant, Verdict]] = []
        self.screened: list[tuple[Event, Verdict, Verdict]] = []

    @property
    def fingerprint(self) -> str:
        """See ``Policy``."""
        return self._policy.fingerprint

    def evaluate(self, applicant: Applicant) -> Verdict:
        """See ``Policy``."""
        verdict = self._policy.evaluate(applicant)
        self.verdicts.append((applicant, verdict))
        return verdict

    def screen(self, event: Event, verdict: Verdict) -> Verdict:
        """See ``Policy``."""
        screened = self._policy.screen(event, verdict)
        self.screened.append((event, verdict, screened))
        return screened

    def forget(self) -> None:
        """Begin anew, with another event."""
        self.verdicts.clear()
        self.screened.clear()
