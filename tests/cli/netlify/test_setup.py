"""``usher netlify setup`` through the command: what it writes, refuses and undoes."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Program
from tests.cli.netlify.sites import BASES, ELSEWHERE, PLAIN, SITES, SPA, VITE, make, tree
from tests.support import ROOT
from usher import __version__
from usher.cli.netlify.plan import OURS

RECORD = ".netlify/usher-setup.json"
HOST = ("--host", "https://usher.example.com")
TOML = "netlify.toml"


def document(folder: Path) -> dict[str, Any]:
    """netlify.toml, parsed."""
    return tomllib.loads((folder / TOML).read_text(encoding="utf-8-sig"))


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A site of each layout, in the working folder; its base is where Netlify builds."""
    make(tmp_path, SITES[request.param])
    return tmp_path / BASES.get(request.param, "")


@pytest.mark.parametrize(
    "options", [(), HOST, (*HOST, "--bridge")], ids=["inside", "host", "bridge"]
)
def test_set_up_again_there_is_nothing_to_do_and_undone_all_is_as_before(
    bare: Program, site: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Of every layout, to the byte; the bridge's site has a function more."""
    before = tree(tmp_path)
    assert bare.json("netlify", "setup", *options, "--yes")["written"]
    after = tree(tmp_path)
    assert after != before
    assert "Nothing to do." in bare("netlify", "setup", *options).output
    again = bare.json("netlify", "setup", *options, "--yes")
    assert (again["written"], again["changes"], again["diff"]) == (False, [], "")
    assert tree(tmp_path) == after
    bare("netlify", "setup", "--undo", "--yes")
    assert tree(tmp_path) == before
    assert not (site / ".netlify").exists()


def test_only_what_is_ours_is_added(bare: Program, site: Path, tmp_path: Path) -> None:
    """Lines that were there stay in their order, with their line ends, but for commands."""
    before = tree(tmp_path)
    bare.json("netlify", "setup", "--yes")
    after = tree(tmp_path)
    for name, octets in before.items():
        if name in (TOML, ".gitignore"):
            lines = iter(after[name].splitlines())
            for line in octets.removeprefix(b"\xef\xbb\xbf").splitlines():
                if any(part in line for part in (b"ommand", b"npm ci", b"= {", b'["mine')):
                    continue
                assert any(line in found for found in lines), (name, line)
            assert after[name].count(b"\r\n") in (0, after[name].count(b"\n"))
        else:
            assert after[name] == octets
    whole = (tmp_path / TOML).read_text(encoding="utf-8-sig")
    assert whole.count("/.netlify/functions/api") == 1


def test_the_build_makes_the_functions_first_in_every_context(
    bare: Program, tmp_path: Path
) -> None:
    """A command of several is not run where ours failed."""
    make(tmp_path, ELSEWHERE)
    bare("netlify", "setup", "--yes")
    found = document(tmp_path)
    assert found["build"]["command"] == f"{OURS} || exit 1; npm ci; npm run build # both"
    contexts = found["context"]
    assert contexts["production"]["command"] == f"{OURS} && npm run build:production"
    assert contexts["deploy-preview"]["command"] == f"{OURS} || exit 1; npm ci\nnpm run build\n"
    assert found["build"]["environment"] == {"PYTHON_VERSION": "3.12"}
    assert found["build"]["functions"] == "lambda"
    assert "directory" not in found["functions"]
    assert found["functions"]["pay*"] == {"included_files": ["prices/**"]}
    assert [rule["from"] for rule in found["redirects"]] == ["/api/*", "/old/*", "/*"]
    assert found["headers"] == [{"for": "/*", "values": {"X-Frame-Options": "DENY"}}]
    assert (tmp_path / "policy.toml").read_text() == "# ours\n"
    ignored = (tmp_path / ".gitignore").read_text().splitlines()
    assert {"lambda/identity.mjs", "lambda/api.mjs", "netlify/usher/", ".env"} <= set(ignored)
    assert ignored.count(".env") == 1


def test_a_site_of_vite_without_netlify_toml_is_built_as_before(
    bare: Program, tmp_path: Path
) -> None:
    """package.json tells what Netlify would have found out by itself, and that is said."""
    make(tmp_path, VITE)
    told = bare("netlify", "setup", "--yes").output
    assert "`npm run build` is taken" in told
    assert 'publish = "dist" is what package.json suggests' in told
    assert document(tmp_path) == {
        "build": {
            "publish": "dist",
            "command": f"{OURS} && npm run build",
            "environment": {"PYTHON_VERSION": "3.13"},
        },
        "functions": {"directory": "netlify/functions"}
        | {
            name: {"included_files": ["netlify/usher/**"]}
            for name in ("api", "identity", "usher-maintenance")
        },
        "redirects": [
            {"from": "/api/*", "to": "/.netlify/functions/api", "status": 200, "force": True}
        ],
    }
    required = (tmp_path / "netlify" / "requirements.txt").read_text()
    assert required == f"usher-identity[netlify]=={__version__}\n"
    assert (tmp_path / "policy.toml").read_text() == (ROOT / "policy.toml").read_text()


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (VITE | {"pnpm-lock.yaml": ""}, "pnpm run build"),
        (VITE | {"yarn.lock": ""}, "yarn build"),
        (VITE | {"bun.lock": ""}, "bun run build"),
        ({"package.json": '{"devDependencies": {"astro": "5"}}'}, None),
    ],
)
def test_the_build_command_is_that_of_the_package_manager(
    bare: Program, tmp_path: Path, files: dict[str, str], command: str | None
) -> None:
    """Or none, where package.json has no build."""
    make(tmp_path, files)
    bare("netlify", "setup", "--yes")
    expected = f"{OURS} && {command}" if command else OURS
    assert document(tmp_path)["build"]["command"] == expected


def test_options_say_what_netlify_s_own_settings_have(bare: Program, tmp_path: Path) -> None:
    """They are for what netlify.toml does not name, and contradict nothing."""
    make(tmp_path, VITE)
    options = ("--publish", "out", "--command", "make || true")
    bare("netlify", "setup", "--yes", *options)
    build = document(tmp_path)["build"]
    assert (build["publish"], build["command"]) == ("out", f"{OURS} || exit 1; make || true")
    bare("netlify", "setup", "--undo", "--yes")
    make(tmp_path, PLAIN | {TOML: '[build]\npublish = "out"\ncommand = "make"\n'})
    for option in (("--publish", "other"), ("--command", "other")):
        assert option[0] in bare("netlify", "setup", "--yes", *option, code=1).output


PAGE = "<!doctype html>\n"
FUNCTION = "export default () => new Response()\n"
REFUSED: dict[str, tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]] = {
    "everything is published": (
        {"index.html": PAGE},
        (),
        ('publish = "."', "netlify/usher", "policy.toml", "--publish"),
    ),
    "the publish folder holds the base": (
        {TOML: '[build]\nbase = "web"\npublish = ".."\n', "web/index.html": PAGE},
        (),
        ("netlify/usher", "publishes the whole folder"),
    ),
    "a published .env": (PLAIN | {"public/.env": "A=1\n"}, (), ("public/.env", "Move these out")),
    "a published .env, on a host": (PLAIN | {"public/.env.production": "A=1\n"}, HOST, (".env.",)),
    "a published database": (PLAIN | {"public/d/usher.db": ""}, (), ("public/d/usher.db",)),
    "another context publishes it": (
        PLAIN | {TOML: '[build]\npublish="public"\n[context.dev]\npublish="/"\n'},
        (),
        ('publish = "/"', "policy.toml"),
    ),
    "the functions' folder is published": (
        PLAIN | {TOML: '[build]\npublish = "netlify"\n'},
        (),
        ("netlify/usher",),
    ),
    "_redirects come first": (
        PLAIN | {"public/_redirects": "/* /index.html 200\n"},
        (),
        ("public/_redirects sends /* to /index.html", "/api/* /.netlify/functions/api 200!"),
    ),
    "_redirects that the build copies": (
        VITE | {"public/_redirects": "/* /index.html 200\n"},
        HOST,
        ("200! signed=USHER_PROXY_SECRET",),
    ),
    "an API of its own": (
        PLAIN | {TOML: PLAIN[TOML] + '[[redirects]]\nfrom = "/api/*"\nto = "/x"\n'},
        (),
        ("sends /api/* to /x",),
    ),
    "pages at /api": (PLAIN | {"public/api/a.json": "1"}, HOST, ("public/api is published",)),
    "a function of the same name": (
        PLAIN | {"netlify/functions/api/index.ts": FUNCTION},
        (),
        ("netlify/functions/api/index.ts", "Rename yours"),
    ),
    "a function that Netlify calls": (
        PLAIN | {"netlify/functions/identity-signup.js": FUNCTION},
        (),
        ("identity-signup.js", "Netlify calls"),
    ),
    "a function with a path of its own": (
        PLAIN | {"netlify/functions/x.mts": 'export const config = { path: "/api/x" }\n'},
        (),
        ("x.mts", "below /api"),
    ),
    "an old Python": (
        PLAIN | {TOML: PLAIN[TOML] + '[build.environment]\nPYTHON_VERSION = "3.8"\n'},
        (),
        ("PYTHON_VERSION in netlify.toml is 3.8", "3.11"),
    ),
    "an old Python of runtime.txt": (PLAIN | {"runtime.txt": "3.7\n"}, (), ("runtime.txt is 3.7",)),
    "no TOML": ({TOML: "[build\npublish = 1\n"}, (), ("line 1", "Nothing was changed")),
    "no UTF-8": ({TOML: "# ü\n"}, (), ("not UTF-8 (line 1)",)),
    "no site": ({"notes.txt": "x\n"}, (), ("no netlify.toml", "--yes")),
    "a base outside": ({TOML: '[build]\nbase = "../"\n'}, (), ('base = "../"', "outside")),
    "no base": ({TOML: '[build]\nbase = "web"\n'}, (), ('base = "web"', "no such folder")),
    "no JSON": (PLAIN | {"package.json": "{"}, (), ("package.json cannot be read",)),
    "no place": (
        PLAIN | {TOML: 'redirects = [{ from = "/a", to = "/b" }]\n' + PLAIN[TOML]},
        (),
        ("[[redirects]]", "by hand"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_in_the_way_is_named_and_nothing_is_written(
    bare: Program, tmp_path: Path, name: str
) -> None:
    """Each with what to do."""
    files, options, words = REFUSED[name]
    make(tmp_path, files)
    if name == "no UTF-8":
        (tmp_path / TOML).write_bytes("# ü\n".encode("latin-1"))
    before = tree(tmp_path)
    sure = () if name == "no site" else ("--yes",)
    said = bare("netlify", "setup", *options, *sure, code=1).output
    for word in words:
        assert word in said
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [
        "redirects = 5\n",
        "[redirects]\nfrom = 1\n",
        'build = "x"\n',
        "[build]\nbase = 7\npublish = 8\ncommand = 9\nenvironment = 1\n",
        "functions = 1\n",
        "[functions]\nidentity = 3\n",
        '[functions.api]\nincluded_files = "x"\n',
        "[functions.api]\nincluded_files = 1\n",
        "context = 1\n[functions]\ndirectory = 2\n",
    ],
)
def test_settings_of_an_odd_kind_are_left_to_the_person(
    bare: Program, tmp_path: Path, text: str
) -> None:
    """Netlify refuses them itself; here they end in a sentence, or are none of ours."""
    head = 'build.publish = "public"\n' if "build" not in text else ""
    make(tmp_path, PLAIN | {TOML: head + text})
    before = tree(tmp_path)
    result = bare("netlify", "setup", "--yes", code=(0, 1))
    if result.exit_code:
        assert tree(tmp_path) == before
        assert result.output.startswith("Error: ")


def test_everything_in_the_way_is_told_at_once(bare: Program, tmp_path: Path) -> None:
    """So that nobody runs it five times."""
    make(
        tmp_path,
        PLAIN | {"runtime.txt": "3.7", "public/usher.db": "", "netlify/functions/api.js": ""},
    )
    said = bare("netlify", "setup", "--yes", code=1).output
    assert all(word in said for word in ("runtime.txt", "usher.db", "api.js"))


def test_a_line_put_into_redirects_as_told_lets_setup_go_on(bare: Program, tmp_path: Path) -> None:
    """That file then has the redirect, so netlify.toml needs none."""
    make(tmp_path, PLAIN | {"public/_redirects": "/* /index.html 200\n"})
    said = bare("netlify", "setup", "--yes", code=1).output
    line = next(part for part in said.split("run this again: ")[1:]).splitlines()[0]
    (tmp_path / "public" / "_redirects").write_text(f"{line}\n/* /index.html 200\n")
    bare("netlify", "setup", "--yes")
    assert "redirects" not in document(tmp_path)


def test_below_a_site_the_way_to_it_is_told(bare: Program, tmp_path: Path) -> None:
    """A netlify.toml in a folder of functions would count for nothing."""
    make(tmp_path, PLAIN)
    said = bare("netlify", "setup", "public", "--yes", code=1).output
    assert f"is in {tmp_path}" in said


def test_where_the_base_has_a_netlify_toml_that_one_counts(bare: Program, tmp_path: Path) -> None:
    """As for Netlify, which reads it in a second pass."""
    make(tmp_path, {TOML: '[build]\nbase = "web"\n', "web/netlify.toml": PLAIN[TOML]})
    found = bare.json("netlify", "setup", "--yes")
    assert found["folder"] == str(tmp_path / "web")
    assert OURS in (tmp_path / "web" / TOML).read_text()
    assert (tmp_path / TOML).read_text() == '[build]\nbase = "web"\n'


def test_it_asks_and_no_means_no(bare: Program, tmp_path: Path) -> None:
    """The diff comes first; without an answer nothing is written, and no secret is made."""
    make(tmp_path, PLAIN)
    before = tree(tmp_path)
    said = bare("netlify", "setup", input="n\n", code=1).output
    assert "+++ b/netlify.toml" in said
    assert "Write this?" in said
    assert "env:set" not in said
    assert bare("netlify", "setup", "--dry-run").output.count("usher secret") == 1
    assert tree(tmp_path) == before
    bare("netlify", "setup", input="y\n")
    assert tree(tmp_path) != before


@pytest.mark.parametrize(
    "options",
    [("--bridge",), ("--json",), ("--host", "usher.example.com"), ("--site", "https://a.b/c"),
     ("--host", "https://a.example", "--site", "https://a.example/")],
)  # fmt: skip
def test_options_that_make_no_sense_are_wrong_usage(
    bare: Program, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Exit code 2."""
    make(tmp_path, PLAIN)
    bare("netlify", "setup", *options, code=2)


def test_for_a_host_of_its_own_there_are_two_signed_redirects(
    bare: Program, tmp_path: Path
) -> None:
    """Neither Python nor a policy; the redirects come before that of a single page."""
    make(tmp_path, {TOML: f'[build]\npublish = "dist"\n\n# SPA\n{SPA}'})
    found = bare.json("netlify", "setup", *HOST, "--site", "https://shop.example/", "--yes")
    assert [each["file"] for each in found["changes"]] == [TOML, ".gitignore"]
    rules = document(tmp_path)["redirects"]
    assert [rule["from"] for rule in rules] == ["/api/*", "/hooks/identity", "/*"]
    assert rules[0]["to"] == "https://usher.example.com/api/:splat"
    assert rules[1]["to"] == "https://usher.example.com/.netlify/functions/identity"
    assert all(rule["signed"] == "USHER_PROXY_SECRET" for rule in rules[:2])
    assert found["webhook"]["url"] == "https://shop.example/hooks/identity"
    [variable] = found["variables"]
    assert (variable["name"], variable["secret"]) == ("USHER_PROXY_SECRET", True)
    assert variable["scopes"] == ["builds", "functions", "runtime"]


def test_on_a_host_a_tool_s_own_settings_are_no_obstacle(bare: Program, tmp_path: Path) -> None:
    """Vite builds into dist, so an .env beside it is not published."""
    make(tmp_path, VITE | {".env": "A=1\n", "policy.toml": ""})
    bare("netlify", "setup", *HOST, "--yes")
    assert set(document(tmp_path)) == {"redirects"}


def test_the_repository_may_be_moved_before_it_is_undone(bare: Program, tmp_path: Path) -> None:
    """The record names files as they are seen from the base."""
    files = SITES["monorepo"]
    make(tmp_path / "here", files)
    assert "--- a/../netlify.toml" in bare("netlify", "setup", "here", "--yes").output
    (tmp_path / "here").rename(tmp_path / "there")
    bare("netlify", "setup", "there", "--undo", "--yes")
    assert tree(tmp_path / "there") == {name: text.encode() for name, text in files.items()}


def test_the_bridge_is_put_into_the_site_s_own_functions(bare: Program, tmp_path: Path) -> None:
    """The file that this version of Usher speaks with."""
    make(tmp_path, ELSEWHERE)
    said = bare("netlify", "setup", *HOST, "--bridge", "--yes").output
    ours = ROOT / "netlify" / "functions" / "usher-bridge.mjs"
    assert (tmp_path / "lambda" / "usher-bridge.mjs").read_bytes() == ours.read_bytes()
    assert "npm install @netlify/identity" in said
    assert "env:set USHER_BRIDGE_SECRET" in said


def test_a_secret_is_printed_once(bare: Program, tmp_path: Path) -> None:
    """In the line that sets it; it is in no file, and the second run knows it no more."""
    make(tmp_path, PLAIN)
    said = bare("netlify", "setup", "--yes", "--site", "https://shop.example").output
    [line] = [
        line for line in said.splitlines() if "USHER_WEBHOOK_SECRETS" in line and "set" in line
    ]
    secret = line.split()[3]
    assert len(secret) == 64
    assert said.count(secret) == 1
    assert line.endswith("--context production --secret --scope builds functions runtime")
    assert "USHER_IDENTITY_URL https://shop.example/.netlify/identity --context" in said
    assert "https://shop.example/.netlify/functions/identity" in said
    assert not any(secret.encode() in octets for octets in tree(tmp_path).values())
    assert secret not in bare("netlify", "setup").output


def test_undo_keeps_what_somebody_added_since(bare: Program, tmp_path: Path) -> None:
    """Their own lines of netlify.toml and .gitignore, and a policy that is theirs by now."""
    make(tmp_path, PLAIN | {".gitignore": "dist\n"})
    bare("netlify", "setup", "--yes")
    headers = '\n[[headers]]\nfor = "/*"\n'
    for name, text in ((TOML, headers), (".gitignore", "*.log\n"), ("policy.toml", "# mine\n")):
        with (tmp_path / name).open("a") as file:
            file.write(text)
    bare("netlify", "setup", "--undo", "--yes")
    assert (tmp_path / TOML).read_text() == PLAIN[TOML] + headers
    assert (tmp_path / ".gitignore").read_text() == "dist\n*.log\n"
    assert "# mine" in (tmp_path / "policy.toml").read_text()
    assert not (tmp_path / "netlify").exists()


def test_undo_refuses_where_our_own_lines_were_changed(bare: Program, tmp_path: Path) -> None:
    """With the lines to take out by hand; then it goes on."""
    make(tmp_path, PLAIN)
    bare("netlify", "setup", "--yes")
    written = (tmp_path / TOML).read_text()
    (tmp_path / TOML).write_text(written.replace('"/api/*"', '"/api/v1/*"'))
    before = tree(tmp_path)
    said = bare("netlify", "setup", "--undo", "--yes", code=1).output
    assert '-from = "/api/*"' in said
    assert tree(tmp_path) == before
    (tmp_path / TOML).write_text(PLAIN[TOML])
    bare("netlify", "setup", "--undo", "--yes")
    assert tree(tmp_path) == {name: text.encode() for name, text in PLAIN.items()}
    assert "nothing to undo" in bare("netlify", "setup", "--undo", "--yes", code=1).output


def test_undo_takes_out_what_several_setups_wrote(bare: Program, tmp_path: Path) -> None:
    """Lines added between the two stay."""
    make(tmp_path, PLAIN)
    bare("netlify", "setup", *HOST, "--yes")
    with (tmp_path / TOML).open("a") as file:
        file.write("\n[dev]\nport = 3000\n")
    bare("netlify", "setup", *HOST, "--bridge", "--yes")
    bare("netlify", "setup", "--undo", "--yes")
    assert (tmp_path / TOML).read_text() == PLAIN[TOML] + "\n[dev]\nport = 3000\n"
    assert set(tree(tmp_path)) == set(PLAIN)


def test_undo_can_be_tried(bare: Program, tmp_path: Path) -> None:
    """A dry run writes nothing, and JSON tells what would be."""
    make(tmp_path, PLAIN)
    bare("netlify", "setup", "--yes")
    before = tree(tmp_path)
    found = bare.json("netlify", "setup", "--undo", "--dry-run")
    assert {each["file"]: each["done"] for each in found["changes"]} == {
        TOML: "changed",
        ".gitignore": "removed",
        "policy.toml": "removed",
        "netlify/requirements.txt": "removed",
    }
    assert tree(tmp_path) == before


def test_a_broken_record_is_told(bare: Program, tmp_path: Path) -> None:
    """It is a file that somebody may have edited."""
    make(tmp_path, PLAIN | {RECORD: '[{"name": 1}]'})
    assert "cannot be read" in bare("netlify", "setup", "--undo", "--yes", code=1).output


def test_a_read_only_file_stays_and_so_do_all_others(bare: Program, tmp_path: Path) -> None:
    """Although a folder that one may write into would let it be replaced."""
    make(tmp_path, PLAIN)
    (tmp_path / TOML).chmod(0o444)
    before = tree(tmp_path)
    assert "read-only" in bare("netlify", "setup", "--yes", code=1).output
    assert tree(tmp_path) == before


def test_where_one_file_cannot_be_written_none_is(
    bare: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the last one."""
    make(tmp_path, PLAIN)
    before = tree(tmp_path)
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == "policy.toml":
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    said = bare("netlify", "setup", "--yes", code=1).output
    assert "policy.toml cannot be written: No space left on device. Nothing was changed." in said
    assert tree(tmp_path) == before


def test_a_file_keeps_its_mode_and_a_link_its_target(bare: Program, tmp_path: Path) -> None:
    """Some keep netlify.toml elsewhere."""
    make(tmp_path, PLAIN)
    (tmp_path / TOML).rename(tmp_path / "real.toml")
    (tmp_path / "real.toml").chmod(0o640)
    (tmp_path / TOML).symlink_to("real.toml")
    bare("netlify", "setup", "--yes")
    assert (tmp_path / TOML).is_symlink()
    assert (tmp_path / "real.toml").stat().st_mode & 0o777 == 0o640
    assert OURS in (tmp_path / "real.toml").read_text()
    bare("netlify", "setup", "--undo", "--yes")
    assert (tmp_path / "real.toml").read_text() == PLAIN[TOML]


def test_json_has_all_that_people_are_told(bare: Program, tmp_path: Path) -> None:
    """Files, diff, remarks, variables, webhook and the next commands."""
    make(tmp_path, VITE)
    found = bare.json("netlify", "setup", "--dry-run")
    assert found["written"] is False
    assert {each["done"] for each in found["changes"]} == {"made", "changed"}
    assert "+++ b/netlify.toml" in found["diff"]
    assert len(found["remarks"]) == 2
    names = [each["name"] for each in found["variables"]]
    assert names == ["USHER_WEBHOOK_SECRETS", "USHER_IDENTITY_URL", "USHER_USE_PLATFORM_TOKEN"]
    assert found["webhook"]["url"].endswith("/.netlify/functions/identity")
    assert found["next"][:2] == ["usher netlify dev", "netlify database init"]
    assert json.dumps(found)
