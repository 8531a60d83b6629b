"""The two functions answer as Usher does anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.api.api_support import bearer
from tests.netlify.conftest import chosen
from tests.netlify.functions import NOWHERE, Functions, Told, functions, run_inside
from tests.netlify.wires import server
from tests.netlify_site import run_node
from tests.support import account, signed
from usher.netlify.build import _function_files


def test_a_forged_event_is_refused(running: Functions) -> None:
    """The signature is checked by Usher's own code, within Netlify's function."""
    told = running.deliver(signed("signup", account(), secret=b"f" * 32))
    assert (told.status, told.document["code"]) == (401, "signature_invalid")


def test_a_good_event_gets_as_far_as_the_database(running: Functions) -> None:
    """Nothing listens there, so it is not accepted; Identity tries it again."""
    told = running.deliver(signed("signup", account(), at=datetime.now(UTC)))
    assert (told.status, told.document["code"]) == (503, "database_unavailable")


def test_the_api_answers(running: Functions) -> None:
    """By either of its addresses."""
    for base in ("/api", "/.netlify/functions/api"):
        told = running.ask(f"{base}/health", "GET")
        assert (told.status, told.document) == (200, {"status": "ok"})


def test_an_answer_to_identity_has_a_length_and_is_not_transformed(running: Functions) -> None:
    """Identity's older senders ignore an answer without a length, and with it the roles."""
    told = running.deliver(signed("signup", account(), secret=b"f" * 32))
    assert told.headers["content-length"] == str(len(told.body))
    assert told.headers["cache-control"] == "no-store, no-transform"


def test_without_a_database_every_answer_says_so(site: Path) -> None:
    """A database of SQLite would be lost with the function, so it counts for none."""
    event = signed("signup", account(), at=datetime.now(UTC))
    with functions(site, USHER_DATABASE_URL="") as without:
        for env in ({}, {"USHER_DATABASE_URL": "sqlite:///usher.db"}):
            told = without.deliver(event, env=env)
            assert (told.status, told.document["code"]) == (503, "no_database")
            assert "USHER_DATABASE_URL" in told.document["title"]


def test_a_site_without_a_policy_has_functions_as_well(site: Path, tmp_path: Path) -> None:
    """Then nothing of the site's own is in the bundle, not even the folder for it."""
    copy = shutil.copytree(site, tmp_path / "site", copy_function=os.link)
    shutil.rmtree(copy / "netlify" / "usher" / "site")
    with functions(copy) as running:
        assert running.ask("/api/health", "GET").document == {"status": "ok"}


def test_another_environment_takes_effect_at_once(site: Path) -> None:
    """Netlify tells a function the address of its database with the invocation."""
    with functions(site, USHER_DATABASE_URL="") as running:
        event = signed("signup", account(), at=datetime.now(UTC))
        assert running.deliver(event).document["code"] == "no_database"
        for name in ("NETLIFY_DATABASE_URL", "NETLIFY_DB_URL"):
            told = running.deliver(event, env={name: NOWHERE})
            assert (told.status, told.document["code"]) == (503, "database_unavailable")
            assert running.deliver(event, env={name: None}).document["code"] == "no_database"
        other = {"USHER_DATABASE_URL": NOWHERE, "USHER_WEBHOOK_SECRETS": "x" * 32}
        assert running.deliver(event, env=other).document["code"] == "signature_invalid"


def test_requests_at_once_are_answered_in_order(running: Functions) -> None:
    """Python has one thread; none is lost, and none gets another one's answer."""
    paths = [f"/api/{name}" for name in ("health", "me", "health", "nothing", "users")]
    sent = {running.send(path, "GET"): path for path in paths}
    told = [running.take() for _ in paths]
    assert [number for number, _ in told] == list(sent)
    assert [each.status for _, each in told] == [200, 401, 200, 404, 401]


def test_after_python_fell_over_the_next_request_starts_it_anew(site: Path, tmp_path: Path) -> None:
    """The request that it fell over is answered 503, so Identity sends the event again."""
    event = signed("signup", account(), secret=b"f" * 32)
    broken = {"USHER_POLICY": "mysite.hooks:decide", "USHER_DOOR_LIMIT": "break"}
    log = tmp_path / "log"
    with functions(site, log) as running:
        assert running.deliver(event).status == 401
        told = running.deliver(event, env=broken)
        assert (told.status, told.headers["retry-after"]) == (503, "1")
        assert running.deliver(event, env={"USHER_DOOR_LIMIT": "a limit"}).status == 401
    assert "Python ended" in log.read_text()


def test_a_start_that_failed_is_tried_again(site: Path, tmp_path: Path) -> None:
    """As where a file was not there yet."""
    copy = shutil.copytree(site, tmp_path / "copy", copy_function=os.link)
    wasm = copy / "netlify" / "usher" / "pyodide.asm.wasm"
    wasm.rename(wasm.with_suffix(".away"))
    with functions(copy) as running:
        assert running.ask("/api/health", "GET").status == 503
        wasm.with_suffix(".away").rename(wasm)
        assert running.ask("/api/health", "GET").status == 200


def change(path: Path, data: bytes) -> None:
    """Put another file in the place of one that is linked elsewhere."""
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage", ["none", "cut", "other files", "nonsense", "script", "no script"]
)
def test_without_a_good_snapshot_python_starts_from_its_archives(
    damage: str, site: Path, tmp_path: Path
) -> None:
    """Slower, and the same: nothing depends on what Pyodide calls private."""
    copy = shutil.copytree(site, tmp_path / "copy", copy_function=os.link)
    snapshot = copy / "netlify" / "usher" / "identity.snapshot"
    if damage == "none":
        snapshot.unlink()
    elif damage == "cut":
        change(snapshot, snapshot.read_bytes()[:-1_000_000])
    elif damage == "script":  # of this size, and yet not usable: Pyodide itself would wait for ever
        script = copy / "netlify" / "usher" / "pyodide.lean.mjs"
        change(script, script.read_bytes().replace(b"LDSO.init();load", b"LDSO.init();Load"))
    elif damage == "no script":
        (copy / "netlify" / "usher" / "pyodide.lean.mjs").unlink()
    elif damage == "nonsense":
        change(snapshot, b"\x10\0\0\0" + bytes(1_000))
    else:
        archive = copy / "netlify" / "usher" / "app.zip"
        change(archive, archive.read_bytes() + b"\0")
    log = tmp_path / "log"
    with functions(copy, log) as running:
        told = running.deliver(signed("signup", account(), secret=b"f" * 32))
    assert (told.status, told.document["code"]) == (401, "signature_invalid")
    assert ("without its snapshot" in log.read_text()) == (damage != "none")


@pytest.mark.parametrize("name", ["pyodide.asm.wasm", "pyodide.asm.mjs", "stdlib.zip"])
def test_a_file_that_is_cut_off_ends_in_an_answer(name: str, site: Path, tmp_path: Path) -> None:
    """Pyodide would wait for ever; so a request is refused until somebody deploys again."""
    copy = shutil.copytree(site, tmp_path / "copy", copy_function=os.link)
    file = copy / "netlify" / "usher" / name
    change(file, file.read_bytes()[: file.stat().st_size // 2])
    log = tmp_path / "log"
    with functions(copy, log) as running:
        told = running.deliver(signed("signup", account()))
    assert told.status == 503
    assert f"{name} is cut off" in log.read_text()


def test_a_snapshot_needs_no_script_but_pyodide_s_own(site: Path, tmp_path: Path) -> None:
    """As where Pyodide's is not as ``usher.netlify.lean`` knows it: slower, and the same."""
    copy = shutil.copytree(site, tmp_path / "copy", copy_function=os.link)
    folder = copy / "netlify" / "usher"
    for name in ("pyodide.lean.mjs", "identity.snapshot"):
        (folder / name).unlink()
    digests = json.loads((folder / "build.json").read_text())
    del digests["pyodide.lean.mjs"]
    change(folder / "build.json", json.dumps(digests).encode())
    extension = next((folder / "native" / "msgspec").glob("*.so")).relative_to(folder)
    run_node(str(folder / "snapshot.mjs"), "identity", str(extension), cwd=folder)
    log = tmp_path / "log"
    with functions(copy, log) as running:
        told = running.deliver(signed("signup", account(), secret=b"f" * 32))
    assert (told.status, told.document["code"]) == (401, "signature_invalid")
    assert "without its snapshot" not in log.read_text()


def test_an_extension_that_no_snapshot_holds_is_loaded_when_it_is_imported(site: Path) -> None:
    """A handler of the site may need one; what it imports from Python is found then."""
    program = """
import sys
from usher.netlify import entry
before = "pydantic_core" in sys.modules
from pydantic_core import SchemaValidator
read = SchemaValidator({"type": "list", "items_schema": {"type": "int"}})
json.dumps([before, read.validate_json("[1, 2]")])
"""
    assert run_inside(site, program) == [False, [1, 2]]


def test_lines_of_the_log_are_as_usher_writes_them(site: Path, tmp_path: Path) -> None:
    """One line of JSON each, on standard error; the snapshot is used."""
    log = tmp_path / "log"
    with functions(site, log) as running:
        running.deliver(signed("signup", account(), secret=b"f" * 32))
        assert running.said == []
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["event"] == "signature.rejected"


@pytest.mark.parametrize("way", ["fast", "plain"])
def test_python_has_no_tls_of_its_own(way: str, site: Path) -> None:
    """Pyodide's verifies no certificate: nothing can rely on it by accident."""
    program = """
import ssl
def refused(make, *arguments):
    try:
        make(*arguments)
    except ssl.SSLError as error:
        return str(error)
json.dumps([
    refused(ssl.create_default_context), refused(ssl.SSLContext, 2),
    hasattr(ssl, "_create_unverified_context"), ssl.__spec__.origin,
])
"""
    refused = "Python has no TLS here: Pyodide's verifies no certificate."
    said = run_inside(site, program, way=way)
    assert said == [refused, refused, False, "/usher/app.zip/ssl.pyc"]


def test_two_restored_processes_draw_other_numbers(site: Path) -> None:
    """A snapshot must not freeze what nobody may guess."""
    program = """
import os, random, secrets, uuid
from usher.netlify import entry
entry.renew({})
json.dumps([random.random(), secrets.token_hex(), str(uuid.uuid4()), os.urandom(8).hex()])
"""
    first, second = (run_inside(site, program) for _ in range(2))
    assert [a for a, b in zip(first, second, strict=True) if a == b] == []


def test_headers_of_netlify_do_not_reach_python(site: Path) -> None:
    """An administrator's token is in one of them; the signature of a proxied request is needed."""
    program = f"""
import {{ askedBy }} from {json.dumps(str(site / "netlify" / "usher" / "usher.mjs"))}
const headers = {{ 'X-NF-Identity-Info': 'secret', 'x-nf-sign': 's', accept: 'a' }}
const asked = askedBy(new Request('https://s.example/api/%C3%A4?q=%20', {{ headers }}))
console.log(JSON.stringify(asked))
"""
    done = run_node("--input-type=module", "-", cwd=site, stdin=program)
    assert json.loads(done.stdout) == {
        "method": "GET",
        "path": "/api/ä",
        "query": "q=%20",
        "headers": [["accept", "a"], ["x-nf-sign", "s"]],
    }


def test_where_python_ends_the_log_has_nothing_of_its_message(site: Path) -> None:
    """It may hold an address, in however many lines; its type and its place say enough."""
    folder = site / "netlify" / "usher"
    program = f"""
import {{ lastWords }} from {json.dumps(str(folder / "usher.mjs"))}
import {{ startPython }} from {json.dumps(str(folder / "python.mjs"))}
const python = await startPython()
try {{
  python.runPython("raise KeyboardInterrupt('ada@example.com\\\\nsecret')")
}} catch (error) {{
  console.log(JSON.stringify([lastWords(error), lastWords(new RangeError('stack'))]))
}}
"""
    done = run_node("--input-type=module", "-", cwd=site, stdin=program)
    of_python, of_node = json.loads(done.stdout)
    assert of_python.startswith("KeyboardInterrupt\n  File ")
    assert "ada" not in of_python
    assert "secret" not in of_python
    assert of_node.startswith("RangeError: stack\n")


def test_python_sends_http_over_the_wires(site: Path) -> None:
    """As the table of tests/pipeline/test_http_to_others.py has it; here from within Pyodide."""
    program = """
from usher.core.http.interface import HttpError, Limits
from usher.netlify import wires
from usher.netlify.http import WiresHttp
http, limits = WiresHttp(wires.ask), Limits(60, 60, 60, 1_000, 0)
told = http.request("POST", {url!r}, {{"X-One": "1"}}, b"\\xff\\x00body", limits)
try:
    http.request("GET", "http://127.0.0.1:1/", {{}}, None, limits)
except HttpError as error:
    failed = str(error)
json.dumps([told.status, told.body.decode(), failed, list(http.resolve("127.0.0.1", 60))])
"""
    heard: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        while b"body" not in b"".join(heard):
            heard.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi")

    with server(serve) as port:
        said = run_inside(site, program.format(url=f"http://127.0.0.1:{port}/path?q"), way="plain")
    assert said == [201, "hi", "connect: ECONNREFUSED", ["127.0.0.1"]]
    sent = b"".join(heard)
    assert sent.startswith(b"POST /path?q HTTP/1.1\r\n")
    assert sent.endswith(b"\xff\x00body")
    assert b"\r\nX-One: 1\r\n" in sent


def test_the_proof_of_a_password_is_node_s(site: Path) -> None:
    """As Python's own; in Python alone its rounds would be a fifth of a cold start."""
    program = """
import hashlib
from usher.netlify import entry, wires
salt = bytes.fromhex("5b6d99689d123b8e8d75a0c9b4dc9a4b")
made = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 4096)
json.dumps([hashlib.pbkdf2_hmac is wires.pbkdf2_hmac, made.hex()])
"""
    salt = bytes.fromhex("5b6d99689d123b8e8d75a0c9b4dc9a4b")
    wanted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 4096).hex()
    assert run_inside(site, program) == [True, wanted]


def test_the_api_in_lambda_s_form(site: Path, tmp_path: Path) -> None:
    """Where the platform is trusted, what it says of the caller comes beside the request alone."""
    copy = shutil.copytree(site, tmp_path / "copy", copy_function=os.link)
    folder, trust = copy / "netlify" / "functions", {"USHER_TRUST_PLATFORM": "netlify-v1"}
    change(
        folder / "api.mjs",
        _function_files(copy, folder, chosen(trust))[folder / "api.mjs"].encode(),
    )
    person, now = account(), datetime.now(UTC)
    who = {"sub": str(person.id), "email": person.email, "exp": int(now.timestamp()) + 3_600}
    sent = {"Authorization": f"Bearer {bearer(person.id, now)}", "x-nf-user": json.dumps(who)}
    with functions(copy, None, **trust) as running:

        def ask(path: str, client: object = None) -> Told:
            form = {"event": {"headers": sent}, "context": {"clientContext": client}}
            return running.ask(path, "GET", v1=form)

        assert ask("/api/health").document == {"status": "ok"}
        assert ask("/api/health?x=1").document["errors"][0]["parameter"] == "x"
        assert ask("/api/me").document["code"] == "identity_unavailable"  # it would be asked
        assert ask("/api/me", {"user": who}).document["code"] == "database_unavailable"
