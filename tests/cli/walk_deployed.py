# ruff: noqa: D103 - the name of a case is its sentence
"""The walk's cases at a deployed site, which ``usher doctor --netlify`` sees from outside."""

from __future__ import annotations

import json
from contextlib import ExitStack

from tests.cli.walk import Steps, Walk, case
from tests.deployed_site import HOOK, PAGE, SETTINGS, Answer, DeployedSite, accounts, deployed
from tests.receivers import Certificates, make_certificates
from tests.support import SECRET, free_port
from usher.cli.checks.deployed import hook, reachable

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
FUNCTIONS = "/.netlify/functions"


def problem(status: int, code: str) -> Answer:
    """An error in Usher's form."""
    return Answer(status, json.dumps({"code": code}).encode(), JSON)


def begin(at: Walk, certificates: Certificates | None = None) -> DeployedSite:
    """A good site; however slow this machine is, it is not late."""
    at.patch.setattr(hook, "COMFORT_SECONDS", 3600.0)
    at.patch.setattr(hook, "PATIENCE_SECONDS", 3600.0)
    at.stack.enter_context(at.program.app())
    site = DeployedSite()
    at.stack.enter_context(deployed(site, certificates))
    at.doctor = ("doctor", "--netlify", site.url)
    return site


def secure(at: Walk, *names: str) -> DeployedSite:
    """A good site by HTTPS, and no plain HTTP beside it."""
    at.patch.setattr(reachable, "PLAIN_PORT", free_port())
    certificates = make_certificates(at.folder, *names)
    at.patch.setenv("SSL_CERT_FILE", str(certificates.authority))
    return begin(at, certificates)


@case("site.unreachable", 0)
def the_address_of_nobody(at: Walk) -> Steps:
    right = begin(at).url
    at.doctor = ("doctor", "--netlify", f"http://localhost:{free_port()}")
    yield {}
    at.doctor = ("doctor", "--netlify", right)


@case("site.certificate", 0)
def a_certificate_of_another_domain(at: Walk) -> Steps:
    wrong = secure(at)
    folder = at.folder / "good"
    folder.mkdir()
    certificates = make_certificates(folder, "DNS:localhost")
    assert wrong.url.startswith("https://")
    yield {}
    at.patch.setenv("SSL_CERT_FILE", str(certificates.authority))
    begin_again = DeployedSite()
    at.stack.enter_context(deployed(begin_again, certificates))
    at.doctor = ("doctor", "--netlify", begin_again.url)


@case("site.moved")
def a_site_whose_main_address_is_another(at: Walk) -> Steps:
    main = begin(at).url
    other = DeployedSite()
    other.spoiled[HOOK] = Answer(301, b"", {"Location": main + HOOK})
    at.stack.enter_context(deployed(other))
    at.doctor = ("doctor", "--netlify", other.url)
    yield {}
    at.doctor = ("doctor", "--netlify", main)


@case("site.plain")
def a_site_that_answers_without_tls(at: Walk) -> Steps:
    secure(at, "DNS:localhost")
    plain = DeployedSite()
    at.stack.enter_context(deployed(plain))
    at.patch.setattr(reachable, "PLAIN_PORT", int(plain.url.rpartition(":")[2]))
    yield {}
    plain.spoiled["/"] = Answer(301, b"", {"Location": "https://localhost/"})


@case("hook.absent")
def a_site_without_functions(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[HOOK] = Answer(404, b"<h1>Nothing</h1>", PAGE)
    yield {}
    site.spoiled.clear()


@case("hook.absent")
def a_site_with_a_page_for_everything(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[HOOK] = Answer(200, b"<h1>A page</h1>", PAGE)
    yield {}
    site.spoiled.clear()


@case("hook.accepted")
def a_function_that_verifies_nothing(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[HOOK] = Answer(200, b"{}", JSON)
    yield {}
    site.spoiled.clear()


@case("hook.no_database")
def functions_without_a_database(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[HOOK] = problem(503, "no_database")
    yield {}
    site.spoiled.clear()


@case("hook.settings")
def functions_without_a_secret(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[HOOK] = problem(500, "settings_invalid")
    yield {}
    site.spoiled.clear()


@case("hook.failed")
def functions_that_do_not_start(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[HOOK] = Answer(502, b"error decoding lambda response", TEXT)
    yield {}
    site.spoiled.clear()


@case("hook.other", 0)
def a_site_with_a_password(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[HOOK] = Answer(401, b"Unauthorized", TEXT)
    yield {}
    site.spoiled.clear()


@case("hook.other", 1)
def a_function_of_somebody_else(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[HOOK] = problem(400, "bad_request")
    yield {}
    site.spoiled.clear()


@case("hook.length")
def an_answer_in_pieces(at: Walk) -> Steps:
    site = begin(at)
    site.chunked = True
    yield {}
    site.chunked = False


@case("hook.encoded")
def a_compressed_answer(at: Walk) -> Steps:
    site = begin(at)
    site.every["Content-Encoding"] = "identity"
    yield {}
    site.every.clear()


@case("hook.transform")
def an_answer_that_may_be_changed(at: Walk) -> Steps:
    site = begin(at)
    site.every["Cache-Control"] = "no-store"
    yield {}
    site.every.clear()


@case("hook.slow")
def an_answer_after_identity_gave_up(at: Walk) -> Steps:
    begin(at)
    at.patch.setattr(hook, "PATIENCE_SECONDS", 0.0)
    yield {}
    at.patch.setattr(hook, "PATIENCE_SECONDS", 3600.0)


@case("hook.late")
def an_answer_that_leaves_no_room(at: Walk) -> Steps:
    begin(at)
    at.patch.setattr(hook, "COMFORT_SECONDS", 0.0)
    yield {}
    at.patch.setattr(hook, "COMFORT_SECONDS", 3600.0)


@case("api.absent", 0)
def a_page_in_the_place_of_the_api(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled["/api/health"] = Answer(200, b"<h1>A page</h1>", PAGE)
    yield {}
    site.spoiled.clear()


@case("api.absent", 1)
def an_api_of_somebody_else(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled["/api/health"] = Answer(200, b'{"up": true}', JSON)
    yield {}
    site.spoiled.clear()


@case("api.proxy_secret")
def functions_with_a_proxy_secret(at: Walk) -> Steps:
    begin(at)
    with ExitStack() as stack:
        at.patch.setenv("USHER_PROXY_SECRET", SECRET.decode())
        stack.enter_context(at.program.app())
        yield {}
    at.patch.delenv("USHER_PROXY_SECRET")


@case("api.failed")
def an_api_that_cannot_ask_anybody(at: Walk) -> Steps:
    site = begin(at)
    for path in ("/api/me", "/api/openapi.json"):
        site.spoiled[path] = problem(503, "database_unavailable")
    yield {}
    site.spoiled.clear()


@case("api.failed")
def an_api_that_does_not_start(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled["/api/health"] = Answer(502, b"", TEXT)
    yield {}
    site.spoiled.clear()


@case("api.open")
def somebodys_record_for_everybody(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled["/api/me"] = Answer(200, b"{}", JSON)
    yield {}
    site.spoiled.clear()


@case("api.headers")
def answers_without_their_headers(at: Walk) -> Steps:
    site = begin(at)
    site.without.add("Strict-Transport-Security")
    yield {}
    site.without.clear()


@case("api.version")
def a_site_of_another_version(at: Walk) -> Steps:
    site = begin(at)
    told = {"paths": {"/me": {"get": {}}}, "components": {"schemas": {}}}
    site.spoiled["/api/openapi.json"] = Answer(200, json.dumps(told).encode(), JSON)
    yield {}
    site.spoiled.clear()


@case("accounts.absent")
def a_site_without_identity(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[SETTINGS] = Answer(404, b"", TEXT)
    yield {}
    site.spoiled.clear()


@case("accounts.autoconfirm")
def accounts_without_a_mail(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[SETTINGS] = accounts(autoconfirm=True)
    yield {}
    site.spoiled.clear()


@case("published.private")
def a_site_that_publishes_its_repository(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled["/.env"] = Answer(200, b"USHER_WEBHOOK_SECRETS=x", TEXT)
    yield {}
    site.spoiled.clear()


@case("reserved.function")
def a_function_that_netlify_calls(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[f"{FUNCTIONS}/identity-signup"] = Answer(500, b"", TEXT)
    yield {}
    site.spoiled.clear()


@case("schedule.open")
def maintenance_by_its_address(at: Walk) -> Steps:
    site = begin(at)
    site.spoiled[f"{FUNCTIONS}/usher-maintenance"] = Answer(200, b'{"done":true}', JSON)
    yield {}
    site.spoiled.clear()
