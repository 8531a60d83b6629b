# ruff: noqa: D103 - the name of a case is its sentence
"""The walk's cases at Identity and the site: credentials, clocks, bridge, proxy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.cli.walk import Steps, Walk, bridged, case, refused
from tests.emulator.world import JWT_SECRET, MOUNT, OPERATOR
from tests.stub import Answer
from tests.support import OLD_SECRET, SECRET, free_port
from usher.functions._shared.http import Response

IDENTITY_URL, TOKEN = "USHER_IDENTITY_URL", "USHER_IDENTITY_ADMIN_TOKEN"
JWT, BRIDGE_URL, BRIDGE_SECRET = "USHER_JWT_SECRET", "USHER_BRIDGE_URL", "USHER_BRIDGE_SECRET"
PROXY = "USHER_PROXY_SECRET"

# --- Identity and the clocks ----------------------------------------------------------------------


@case("identity.unreachable", 0)
def a_wrong_address(at: Walk) -> Steps:
    url = at.identity().url
    at.set(IDENTITY_URL, f"http://127.0.0.1:{free_port()}")
    yield {IDENTITY_URL: url}


@case("identity.unreachable", 0)
def the_address_of_a_page(at: Walk) -> Steps:
    url = at.identity().url
    at.set(IDENTITY_URL, at.serve(lambda *_: (200, {}, b"<h1>Welcome</h1>")).url)
    yield {IDENTITY_URL: url}


@case("identity.unreachable", 1)
def identity_is_down(at: Walk) -> Steps:
    identity = at.identity()
    identity.stop()
    yield {}
    identity.start()


@case("identity.not_there", 0)
def an_address_without_its_path(at: Walk) -> Steps:
    url = at.identity().url
    at.set(IDENTITY_URL, url.removesuffix(MOUNT))
    yield {IDENTITY_URL: url}


@case("identity.not_there", 1)
def identity_is_not_enabled(at: Walk) -> Steps:
    identity = at.identity()
    identity.answer = lambda _: Response(404, "not found", "text/plain")
    yield {}
    identity.answer = lambda _: None


@case("identity.admin_token", 0)
def a_wrong_token(at: Walk) -> Steps:
    at.identity()
    at.set(TOKEN, "wrong")
    yield {TOKEN: OPERATOR}


@case("identity.admin_token", 1)
def the_address_of_another_identity(at: Walk) -> Steps:
    own, other = at.identity(), at.identity()
    other.answer = lambda _: Response(401, '{"code":401,"msg":"No."}', "application/json")
    yield {IDENTITY_URL: own.url}


def by_secret(at: Walk) -> None:
    """Identity, reached by tokens that we sign."""
    at.identity()
    at.set(TOKEN, "")
    at.set(JWT, JWT_SECRET.decode())


@case("identity.jwt_secret", 0)
def a_wrong_secret(at: Walk) -> Steps:
    by_secret(at)
    at.set(JWT, "another secret another secret another")
    yield {JWT: JWT_SECRET.decode()}


@case("identity.jwt_secret", 1)
def a_clock_that_is_far_behind(at: Walk) -> Steps:
    by_secret(at)
    at.ask_at(timedelta(minutes=-2))
    yield {}
    at.ask_at(timedelta())


class Dated:
    """An Identity whose clock is so far off ours."""

    def __init__(self, at: Walk, seconds: int) -> None:
        self.seconds = seconds
        at.set(IDENTITY_URL, at.serve(self.answer).url)
        at.set(TOKEN, OPERATOR)

    def answer(self, *_: object) -> Answer:
        """An empty page."""
        date = datetime.now(UTC) + timedelta(seconds=self.seconds)
        return 200, {"Date": format_datetime(date, usegmt=True)}, b'{"users": []}'


@case("skew.ahead", 0, 1)
def our_clock_is_ahead(at: Walk) -> Steps:
    identity = Dated(at, -90)
    yield {}
    identity.seconds = 0


@case("skew.behind", 0, 1)
def our_clock_is_behind(at: Walk) -> Steps:
    identity = Dated(at, 90)
    yield {}
    identity.seconds = 0


# --- the bridge -----------------------------------------------------------------------------------


class Bridge:
    """A bridge that gives these answers until it is mended."""

    def __init__(self, at: Walk, answer: Answer) -> None:
        identity = at.identity()
        at.set(IDENTITY_URL, "")
        at.set(TOKEN, "")
        self.broken: Answer | None = answer
        self._good = identity.bridge()
        self.url = at.serve(self.answer).url
        at.set(BRIDGE_URL, self.url)
        at.set(BRIDGE_SECRET, SECRET.decode())

    def answer(self, path: str, body: bytes) -> Answer:
        """What the function says."""
        return self.broken or self._good(path, body)

    def mend(self) -> None:
        """It works."""
        self.broken = None


@case("identity.bridge", 0)
def identity_refuses_the_bridge(at: Walk) -> Steps:
    bridge = Bridge(at, bridged(401, '{"code":401,"msg":"No."}'))
    yield {}
    bridge.mend()


@case("bridge.unreachable", 0)
def a_wrong_site_for_the_bridge(at: Walk) -> Steps:
    bridge = Bridge(at, bridged(200, ""))
    bridge.mend()
    at.set(BRIDGE_URL, f"http://127.0.0.1:{free_port()}")
    yield {BRIDGE_URL: bridge.url}


@case("bridge.absent", 0)
def a_wrong_path_of_the_bridge(at: Walk) -> Steps:
    bridge = Bridge(at, bridged(200, ""))
    bridge.mend()
    at.set(BRIDGE_URL, at.serve(lambda *_: (404, {}, b"not found")).url)
    yield {BRIDGE_URL: bridge.url}


@case("bridge.absent", 1)
def no_function(at: Walk) -> Steps:
    bridge = Bridge(at, (404, {}, b"not found"))
    yield {}
    bridge.mend()


@case("bridge.closed", 0, 1)
def a_closed_bridge(at: Walk) -> Steps:
    bridge = Bridge(at, refused(503, "bridge_closed"))
    yield {}
    bridge.mend()


@case("bridge.signature", 0)
def another_secret_for_the_bridge(at: Walk) -> Steps:
    bridge = Bridge(at, refused(401, "signature_invalid"))
    at.set(BRIDGE_SECRET, OLD_SECRET.decode())
    yield {BRIDGE_SECRET: SECRET.decode()}
    bridge.mend()


@case("bridge.signature", 1)
def a_clock_that_the_bridge_minds(at: Walk) -> Steps:
    bridge = Bridge(at, refused(401, "signature_invalid"))
    yield {}
    bridge.mend()


@case("bridge.failed")
def another_version_of_the_bridge(at: Walk) -> Steps:
    bridge = Bridge(at, refused(400, "operation_unknown"))
    yield {}
    bridge.mend()


# --- the site -------------------------------------------------------------------------------------

HEALTHY: Answer = (200, {}, b'{"status":"ok"}')


def site(at: Walk, *answers: Answer) -> list[Answer]:
    """A site whose answer is the last of the list."""
    found = list(answers)
    at.set(PROXY, SECRET.decode())
    at.set(IDENTITY_URL, at.serve(lambda *_: found[-1]).url + MOUNT)
    return found


@case("proxy.repeated")
def a_proxy_secret_twice(at: Walk) -> Steps:
    at.set(PROXY, f"{SECRET.decode()},{SECRET.decode()}")
    yield {PROXY: f"{OLD_SECRET.decode()},{SECRET.decode()}"}


@case("proxy.not_usher", 0)
def a_site_without_a_back_end(at: Walk) -> Steps:
    answers = site(at, (200, {}, b"<h1>a page</h1>"))
    yield {}
    answers.append(HEALTHY)


@case("proxy.not_usher", 1)
def another_site(at: Walk) -> Steps:
    good = at.serve(lambda *_: HEALTHY).url + MOUNT
    site(at, (200, {}, b"<h1>a page</h1>"))
    yield {IDENTITY_URL: good}


UNSIGNED: Answer = (403, {}, b'{"code":"not_through_site"}')


@case("proxy.unsigned", 0)
def another_proxy_secret(at: Walk) -> Steps:
    answers = site(at, UNSIGNED)
    yield {PROXY: OLD_SECRET.decode()}
    answers.append(HEALTHY)


@case("proxy.unsigned", 1)
def a_clock_that_the_site_minds(at: Walk) -> Steps:
    answers = site(at, UNSIGNED)
    yield {}
    answers.append(HEALTHY)


@case("proxy.status", 0, 1)
def a_site_without_usher(at: Walk) -> Steps:
    answers = site(at, (502, {}, b""))
    yield {}
    answers.append(HEALTHY)


@case("proxy.status", 2)
def a_site_that_sends_visitors_on(at: Walk) -> Steps:
    good = at.serve(lambda *_: HEALTHY).url + MOUNT
    site(at, (301, {"Location": good}, b""))
    yield {IDENTITY_URL: good}
