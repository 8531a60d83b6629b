"""``usher dev`` as a real process: a local Identity, its events, tokens with roles, the API."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.cli.conftest import Process
from tests.dev_process import Site, usher_dev
from tests.receivers import Receiver
from tests.server.waiting import until
from tests.support import ROOT, clean_environment


@pytest.fixture
def start_dev(tmp_path: Path, policy_file: Path) -> Iterator[Callable[..., Site]]:
    """Start ``usher dev`` in a folder of its own."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(policy_file, folder / "policy.toml")
    with ExitStack() as stack:

        def start(*options: str, **variables: str) -> Site:
            stack.close()  # one folder takes one
            return stack.enter_context(usher_dev(folder, *options, **variables))

        yield start


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running command that strangers find."""
    with usher_dev(tmp_path_factory.mktemp("strange")) as site:
        yield site


def test_from_a_signup_to_the_role_in_the_token(
    start_dev: Callable[..., Site], tmp_path: Path
) -> None:
    """Sign up, click the link of the mail, log in: the role is there, and the API obeys it.

    A command beside it needs no setting to tell Identity of a change. A webhook goes out by the
    settings of the local server, and only one process hands changes over.
    """
    site = start_dev(USHER_SINK_NETWORKS="127.0.0.0/8")
    status, _ = site.identity(
        "POST", "/signup", {"email": "owner@example.com", "password": "a password"}
    )
    assert status == 200
    [mail] = site.ask("GET", "/_dev/mail")[1]["mails"]
    assert re.fullmatch(re.escape(site.url) + r"/#confirmation_token=[\w-]+", mail["link"])
    status, _ = site.identity("POST", "/verify", {"type": "signup", "token": mail["token"]})
    assert status == 200
    token = site.log_in("owner@example.com")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["app_metadata"]["roles"] == ["admin", "member", "staff"]
    status, me = site.ask("GET", "/api/me", token=token)
    assert (status, me["roles"]) == (200, ["admin", "member", "staff"])
    status, invited = site.ask("POST", "/api/users", {"email": "guest@b.example"}, token)
    assert (status, invited["status"]) == (201, "pending")
    kinds = [mail["kind"] for mail in site.ask("GET", "/_dev/mail")[1]["mails"]]
    assert sorted(kinds) == ["confirmation", "invite"]
    with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        assert site.ask("POST", "/api/sinks", {"url": url, "changes": ["role.*"]}, token)[0] == 201
        granted = subprocess.run(
            [sys.executable, "-m", "usher.cli", "users", "grant", "owner@example.com", "extra"],
            cwd=tmp_path / "site",
            env=clean_environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Identity: " in granted.stdout  # pending, where the server is about to tell it
        roles = f"/api/users/{me['id']}/roles"
        until(lambda: site.ask("GET", roles, token=token)[1]["identity"] == "in step")
        until(lambda: len(receiver.came) > 0)
    log = (tmp_path / "site" / "log").read_text()
    assert "outbox.ended" not in log
    assert "Traceback" not in log


def test_who_is_denied_hears_it_from_identity(start_dev: Callable[..., Site]) -> None:
    """As on Netlify; with invitations only, signups are off."""
    site = start_dev("--autoconfirm")
    account = {"email": "x@mailinator.com", "password": "a password"}
    assert site.identity("POST", "/signup", account) == (
        422, {"code": 422, "msg": "Failed to handle signup webhook"},
    )  # fmt: skip
    status, _ = site.identity("POST", "/signup", account | {"email": "ada@b.example"})
    assert status == 200
    assert site.ask("GET", "/api/me", token=site.log_in("ada@b.example"))[1]["roles"] == ["member"]
    closed = start_dev("--invite-only")
    assert closed.identity("GET", "/settings")[1]["disable_signup"] is True
    assert closed.identity("POST", "/signup", account | {"email": "b@b.example"})[0] == 403
    assert closed.log_in("ada@b.example")  # accounts are kept from one start to the next


def _people(process: Process) -> set[str]:
    found = process("users", "list", "--json")
    assert found.returncode == 0, found.stderr
    return {user["email"] for user in json.loads(found.stdout)["users"]}


def test_dev_and_an_installation_keep_out_of_each_other(tmp_path: Path, process: Process) -> None:
    """Its people are not in the database of .env, and it keeps them when .env comes.

    The local Identity, which signs them in, and the database agree the whole time.
    """
    process("init")
    with usher_dev(tmp_path, "--seed", "2") as site:
        beside = _people(process)
        assert "owner@example.com" in beside
        assert "Set aside" in (tmp_path / "log").read_text()
    assert _people(process) == set()
    assert (tmp_path / "usher.db").exists()
    (tmp_path / ".env").unlink()
    assert _people(process) == beside
    process("init")
    with usher_dev(tmp_path, "--autoconfirm") as site:
        assert _people(process) == beside
        account = {"email": "ada@b.example", "password": "a password"}
        assert site.identity("POST", "/signup", account)[0] == 200
        assert site.ask("GET", "/api/me", token=site.log_in("ada@b.example"))[0] == 200
        assert process("token", "ada@b.example").returncode == 0
    assert _people(process) == set()
    with usher_dev(tmp_path, "--fresh"):
        assert _people(process) == set()


def test_with_another_identity_there_is_no_local_one(start_dev: Callable[..., Site]) -> None:
    """The one that is named is asked."""
    site = start_dev(USHER_IDENTITY_URL="http://127.0.0.1:9/.netlify/identity")
    assert site.identity("GET", "/settings")[0] == 404
    assert site.ask("GET", "/_dev/mail")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/", "/main.css", "/healthz", "/readyz", "/metrics", "/api/me", "/nothing", "/_dev/mail",
        "/.netlify/identity/settings", "/.netlify/identity/user", "/.netlify/functions/api/me",
        "/.netlify/functions/identity",
    ],
)  # fmt: skip
def test_f1_a_strange_name_is_answered_nowhere(strange: Site, path: str) -> None:
    """Whoever it belongs to points it at this machine, and reads what is there."""
    for host in ("evil.example", "evillocalhost:8888", "localhost.evil.com", "127.0.0.1.nip.io"):
        for method in ("GET", "POST", "OPTIONS"):
            answer = strange.pool.request(method, strange.url + path, headers={"Host": host})
            assert (answer.status, answer.json()["code"]) == (403, "strange_page")


def test_f1_a_strange_page_gets_no_token(strange: Site) -> None:
    """It neither logs in nor reads an answer; a page of this machine's does."""
    url = f"{strange.url}/.netlify/identity/token"
    form = urlencode({"grant_type": "password", "username": "a@b.example", "password": "x"})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for page in ("https://evil.example", "null", "http://evillocalhost:3000"):
        answer = strange.pool.request("POST", url, body=form, headers=headers | {"Origin": page})
        assert (answer.status, answer.json()["code"]) == (403, "strange_page")
        ask = {"Origin": page, "Access-Control-Request-Method": "POST"}
        answers = [answer, strange.pool.request("OPTIONS", url, headers=ask)]
        settings = f"{strange.url}/.netlify/identity/settings"
        answers.append(strange.pool.request("GET", settings, headers={"Origin": page}))
        for each in answers:
            assert not [name for name in each.headers if name.lower().startswith("access-control")]
    ours = headers | {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site"}
    answer = strange.pool.request("POST", url, body=form, headers=ours)
    assert answer.status == 400
    assert answer.headers["Access-Control-Allow-Origin"]


def test_f1_a_tunnel_brings_signed_events_alone(start_dev: Callable[..., Site]) -> None:
    """Where another Identity is named, its events may come by a name of the tunnel's."""
    site = start_dev(USHER_IDENTITY_URL="http://127.0.0.1:9/.netlify/identity")
    host = {"Host": "abc.tunnel.example"}
    hook, rest = (site.url + path for path in ("/.netlify/functions/identity", "/api/me"))
    assert site.pool.request("POST", hook, headers=host).status == 415
    page = host | {"Origin": "https://evil.example"}
    assert site.pool.request("POST", hook, headers=page).status == 403
    assert site.pool.request("GET", rest, headers=host).status == 403
