"""Reading policy.toml and loading callables: what is understood, and what is wrong where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import NOON, ROOT
from usher.core.bounds import MAX_MESSAGE_CHARACTERS
from usher.core.domain.admission import Admission, Answer, DenyList
from usher.core.domain.conditions import Conditions, Entries
from usher.core.domain.events import EventName
from usher.core.domain.policy import DEFAULT_MESSAGE, Verdict
from usher.core.domain.policy_tests import run_tests
from usher.core.domain.rules import FilePolicy, RoleRule
from usher.core.errors import PolicyError
from usher.core.policy_file import parse_policy
from usher.core.policy_source import load_callable, load_policy

EVERYTHING = """
[admission]
default = "deny"
message = "Members only."
allow_email_domains = ["A.example", "bücher.example"]
allow_emails = ["Guest <Guest@B.example>"]
deny_email_domains = { values = ["mailinator.com"], message = "Not there." }
deny_emails = ["Eve@A.example"]

[[role]]
grant = "member"

[[role]]
grant = "staff"
emails = ["Ada@A.example"]
email_domains = ["A.example"]
providers = ["google", "github"]

[app_metadata]
plan = "free"
limits = { seats = 3, ratio = 0.5, tags = ["a"], open = true }
"""


def test_a_bom_is_no_part_of_the_policy(tmp_path: Path) -> None:
    """Some editors write one; the fingerprint is that of the text as it stands."""
    (tmp_path / "policy.toml").write_bytes(b"\xef\xbb\xbf" + EVERYTHING.encode())
    found = load_policy(str(tmp_path / "policy.toml"))
    assert isinstance(found, FilePolicy)
    plain = parse_policy(EVERYTHING)
    assert (found.admission, found.roles) == (plain.admission, plain.roles)
    assert found.fingerprint != plain.fingerprint


def test_providers_are_folded_to_lower_case() -> None:
    """As Identity writes them."""
    policy = parse_policy(
        '[[role]]\ngrant = "member"\nproviders = ["Google"]\n'
        '[[test]]\nwho = "a@b.example"\nprovider = "GOOGLE"\nexpect = "member"\n'
    )
    assert policy.roles[0].when.providers == {"google"}
    (result,) = run_tests(policy, NOON)
    assert result.passed


def test_every_key_of_the_file_is_read() -> None:
    """Addresses and domains are normalised as those of applicants are; the rest is kept."""
    policy = parse_policy(EVERYTHING)
    assert policy.admission == Admission(
        default=Answer.DENY,
        message="Members only.",
        allow_email_domains=Entries(frozenset({"a.example", "xn--bcher-kva.example"})),
        allow_emails=Entries(frozenset({"guest@b.example"})),
        deny_email_domains=DenyList(Entries(frozenset({"mailinator.com"})), "Not there."),
        deny_emails=DenyList(Entries(frozenset({"eve@a.example"})), "Members only."),
    )
    assert policy.roles == (
        RoleRule(1, "member"),
        RoleRule(
            2,
            "staff",
            Conditions(
                Entries(frozenset({"ada@a.example"})),
                Entries(frozenset({"a.example"})),
                frozenset({"google", "github"}),
            ),
        ),
    )
    assert policy.app_metadata == {
        "plan": "free",
        "limits": {"seats": 3, "ratio": 0.5, "tags": ["a"], "open": True},
    }


def test_an_empty_file_admits_everyone_and_gives_no_role() -> None:
    """Only the fingerprint tells it from having no file."""
    policy = parse_policy("")
    assert (policy.admission, policy.roles, policy.app_metadata) == (Admission(), (), {})
    assert policy.admission.message == DEFAULT_MESSAGE


def test_a_deny_lists_own_message_is_optional() -> None:
    """A table without one says the default sentence."""
    policy = parse_policy('[admission]\ndeny_emails = { values = ["a@b.example"] }')
    assert policy.admission.deny_emails.message == DEFAULT_MESSAGE


def test_the_projects_own_policy_is_good() -> None:
    """The file that a fresh clone starts with."""
    assert load_policy(str(ROOT / "policy.toml")).describe()


TABLE = "policy.toml: [admission]"
RULE = "policy.toml: [[role]] number 1"
ADMITS = "policy.toml: [[rule]] number 1"
TEST = "policy.toml: [[test]] number 1"
DATA = "policy.toml: [app_metadata]"

# text, where, a beginning of the problem
ERRORS: list[tuple[str, str, str]] = [
    ("x", "policy.toml", "Expected '=' after a key"),
    ('a = "', "policy.toml", "Unterminated string"),
    ("[admission]\n[admission]", "policy.toml", "Cannot declare ('admission',) twice"),
    ("[admision]", "policy.toml", "unknown key 'admision'; known are admission, app_metadata"),
    ("admission = 1", TABLE, "must be a table"),
    ("[[admission]]", TABLE, "must be a table"),
    ("[admission]\ndeny = []", TABLE, "unknown key 'deny'; known are allow_email_domains"),
    ('[admission]\ndefault = "no"', f"{TABLE} default", 'must be "allow", "deny" or "ask"'),
    ("[admission]\ndefault = []", f"{TABLE} default", 'must be "allow", "deny" or "ask"'),
    (
        '[admission]\nallow_emails = ["a@b.example"]',
        TABLE,
        'an allow list does nothing without default = "deny" or "ask"',
    ),
    (
        '[admission]\nallow_email_domains = ["b.example"]',
        TABLE,
        'an allow list does nothing without default = "deny" or "ask"',
    ),
    ('[admission]\nmessage = ""', f"{TABLE} message", "must be a text of 1 to 500 characters"),
    ("[admission]\nmessage = 1", f"{TABLE} message", "must be a text of 1 to 500 characters"),
    (
        f'[admission]\nmessage = "{"m" * (MAX_MESSAGE_CHARACTERS + 1)}"',
        f"{TABLE} message",
        "must be a text of 1 to 500 characters",
    ),
    ('[admission]\ndeny_emails = "a@b.c"', f"{TABLE} deny_emails", "must be a list of strings"),
    ("[admission]\ndeny_emails = [1]", f"{TABLE} deny_emails", "must be a list of strings"),
    ('[admission]\ndeny_emails = ["x"]', f"{TABLE} deny_emails", "'x' is not an e-mail address"),
    (
        '[admission]\ndeny_emails = { value = ["a@b.c"] }',
        f"{TABLE} deny_emails",
        "unknown key 'value'; known are file, message, values",
    ),
    (
        '[admission]\ndeny_emails = { values = ["a@b.c"], message = "" }',
        f"{TABLE} deny_emails message",
        "must be a text of 1 to 500 characters",
    ),
    (
        '[admission]\ndeny_email_domains = ["@b.example"]',
        f"{TABLE} deny_email_domains",
        "'@b.example' is not a domain; write \"example.com\", without @",
    ),
    (
        '[admission]\ndeny_email_domains = ["a b"]',
        f"{TABLE} deny_email_domains",
        "'a b' is not a domain",
    ),
    ('[admission]\ndeny_email_domains = [""]', f"{TABLE} deny_email_domains", "'' is not a domain"),
    ("role = 1", "policy.toml: role", "write each one as [[role]], with two brackets"),
    ('[role]\ngrant = "x"', "policy.toml: role", "write each one as [[role]]"),
    ("role = [1]", RULE, "must be a table"),
    ("[[role]]", f"{RULE} grant", "must be the name of a role"),
    ("[[role]]\ngrant = 1", f"{RULE} grant", "must be the name of a role"),
    ('[[role]]\ngrant = " a"', f"{RULE} grant", "must be the name of a role"),
    ('[[role]]\ngrant = "a\\u0007"', f"{RULE} grant", "must be the name of a role"),
    ('[[role]]\ngrant = "a"\nemail = []', RULE, "unknown key 'email'; known are email_domains"),
    ('[[role]]\ngrant = "a"\nemails = []', f"{RULE} emails", "is empty, so the rule could never"),
    ('[[role]]\ngrant = "a"\nproviders = [1]', f"{RULE} providers", "must be a list of strings"),
    ('[[role]]\ngrant = "a"\nemails = ["x"]', f"{RULE} emails", "'x' is not an e-mail address"),
    (
        '[[role]]\ngrant = "a"\nemail_domains = ["*.example@"]',
        f"{RULE} email_domains",
        "'*.example@' is not a domain",
    ),
    (
        '[[role]]\ngrant = "a"\n[[role]]\nproviders = ["x"]',
        "policy.toml: [[role]] number 2 grant",
        "must be the name of a role",
    ),
    ("rule = 1", "policy.toml: rule", "write each one as [[rule]], with two brackets"),
    ("[[rule]]", ADMITS, "needs exactly one of allow = true, deny = true and ask = true"),
    ("[[rule]]\nallow = false", ADMITS, "needs exactly one of"),
    ('[[rule]]\nallow = "yes"', ADMITS, "needs exactly one of"),
    ("[[rule]]\nallow = true\nask = true", ADMITS, "needs exactly one of"),
    ("[[rule]]\nask = true\ngrant = 1", ADMITS, "unknown key 'grant'; known are allow, ask, deny"),
    (
        '[[rule]]\nask = true\nmessage = "m"',
        f"{ADMITS} message",
        "is for those who are refused, with deny = true",
    ),
    ('[[rule]]\ndeny = true\nmessage = ""', f"{ADMITS} message", "must be a text of 1 to 500"),
    ("[[rule]]\nask = true\nproviders = []", f"{ADMITS} providers", "is empty, so the rule could"),
    (
        "[[rule]]\nask = true\nemails = { values = [] }",
        f"{ADMITS} emails",
        "is empty, so the rule could never hold",
    ),
    (
        "[[rule]]\nask = true\nemails = { subdomains = true }",
        f"{ADMITS} emails",
        "unknown key 'subdomains'; known are file, values",
    ),
    (
        "[[rule]]\nask = true\nemail_domains = { subdomains = 1 }",
        f"{ADMITS} email_domains subdomains",
        "must be true or false",
    ),
    (
        '[[rule]]\nask = true\nemail_domains = { message = "m" }',
        f"{ADMITS} email_domains",
        "unknown key 'message'; known are file, subdomains, values",
    ),
    ("[[rule]]\nask = true\ninvited = 1", f"{ADMITS} invited", "must be true or false"),
    (
        '[[rule]]\nask = true\nfrom = "2026-12-24"',
        f"{ADMITS} from",
        "must be a day, 2026-12-24, or a time, 2026-12-24T18:00:00Z; no text",
    ),
    ("[[rule]]\nask = true\nuntil = 18:00:00", f"{ADMITS} until", "must be a day, 2026-12-24"),
    (
        "[[rule]]\nask = true\nuntil = 0001-01-01T00:00:00+10:00",
        f"{ADMITS} until",
        "is out of range",
    ),
    (
        "[[rule]]\nask = true\nfrom = 2026-12-24\nuntil = 2026-12-24",
        f"{ADMITS} until",
        "is not after from, so the rule could never hold",
    ),
    ('[admission]\nignore_dots = "all"', f"{TABLE} ignore_dots", "must be true or false"),
    ('[admission]\nignore_dots = ["@x"]', f"{TABLE} ignore_dots", "'@x' is not a domain"),
    ("[admission]\nignore_subaddress = 1", f"{TABLE} ignore_subaddress", "must be true or false"),
    ('[admission]\ndeny_email_domains = ["*."]', f"{TABLE} deny_email_domains", "'*.' is not a"),
    ('[admission]\ndeny_email_domains = ["*"]', f"{TABLE} deny_email_domains", "'*' is not a"),
    ('[admission]\ndeny_email_domains = ["a.*.b"]', f"{TABLE} deny_email_domains", "'a.*.b' is"),
    (
        '[admission]\ndeny_emails = ["*.b.example"]',
        f"{TABLE} deny_emails",
        "'*.b.example' is not an",
    ),
    ("[[test]]", f"{TEST} who", "must be a text of 1 to 320 characters"),
    ('[[test]]\nwho = ""', f"{TEST} who", "must be a text of 1 to 320 characters"),
    ('[[test]]\nwho = "a@b.example"', f"{TEST} expect", 'must be "refused", "waiting", "admitted"'),
    ('[[test]]\nwho = "a@b.example"\nexpect = [1]', f"{TEST} expect", 'must be "refused"'),
    ('[[test]]\nwho = "a@b.example"\nexpect = [" a"]', f"{TEST} expect", 'must be "refused"'),
    (
        '[[test]]\nwho = "a@b.example"\nexpect = "refused"\nevent = "userdeleted"',
        f"{TEST} event",
        "must be one of validate, signup, login, usermodified",
    ),
    (
        '[[test]]\nwho = "a@b.example"\nexpect = "refused"\nproven = "no"',
        f"{TEST} proven",
        "must be true or false",
    ),
    (
        '[[test]]\nwho = "a@b.example"\nexpect = "refused"\nroles = []',
        TEST,
        "unknown key 'roles'; known are at, code, event, expect, invited, proven, provider, who",
    ),
    ("app_metadata = 1", DATA, "must be a table"),
    ("[app_metadata]\nroles = []", DATA, "may not set roles"),
    ('[app_metadata]\nprovider = "x"\nroles = []', DATA, "may not set provider, roles"),
    ('[app_metadata.authorization]\nroles = ["x"]', DATA, "may not set authorization"),
    ("[app_metadata]\nsince = 2026-11-23", DATA, "must fit into JSON"),
    ("[app_metadata]\nx = nan", DATA, "must fit into JSON"),
    ("[app_metadata]\nx = [inf]", DATA, "must fit into JSON"),
    (f"[app_metadata]\nx = {'1' * 5000}", "policy.toml", ""),
    (f"[app_metadata]\nx = {'[' * 2000}{']' * 2000}", "policy.toml", ""),
]


@pytest.mark.parametrize(
    ("text", "where", "problem"), ERRORS, ids=[error[0][:40] for error in ERRORS]
)
def test_a_mistake_is_named_with_its_place(text: str, where: str, problem: str) -> None:
    """Whoever wrote the file reads which table and key is at fault, and why."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert caught.value.where == where
    assert caught.value.problem.startswith(problem)
    assert str(caught.value) == f"{where}: {caught.value.problem}"


def test_a_syntax_error_names_the_line() -> None:
    """As TOML counts lines, from one."""
    with pytest.raises(PolicyError, match=r"at line 3"):
        parse_policy("[admission]\n\ndefault =\n")


def test_the_fingerprint_is_that_of_the_text() -> None:
    """Twelve hex digits; any change of the file, a comment's too, is another policy."""
    first, second = parse_policy("# a"), parse_policy("# b")
    assert first.fingerprint == parse_policy("# a").fingerprint != second.fingerprint
    assert len(first.fingerprint) == 12
    assert int(first.fingerprint, 16) >= 0


def test_an_absent_default_file_is_the_empty_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to write a policy; whoever names one must have it."""
    monkeypatch.chdir(tmp_path)
    assert load_policy("policy.toml") == FilePolicy()
    assert FilePolicy().fingerprint == "no-policy"
    with pytest.raises(PolicyError, match=r"other\.toml: there is no such file"):
        load_policy("other.toml")


def test_a_link_to_nothing_is_no_absent_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has a policy, and it is lost: nobody is admitted for that."""
    monkeypatch.chdir(tmp_path)
    Path("policy.toml").symlink_to("gone.toml")
    with pytest.raises(PolicyError, match=r"links to gone\.toml, which is not there"):
        load_policy("policy.toml")


def test_a_file_is_named_by_its_last_part_in_errors(tmp_path: Path) -> None:
    """A long path would hide the place."""
    path = tmp_path / "rules.toml"
    path.write_text("[x]")
    with pytest.raises(PolicyError, match=r"^rules\.toml: unknown key 'x'"):
        load_policy(str(path))


def test_what_cannot_be_read_is_a_policy_error(tmp_path: Path) -> None:
    """A folder, or bytes that are not UTF-8."""
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(str(tmp_path))
    path = tmp_path / "policy.toml"
    path.write_bytes(b'[admission]\nmessage = "\xe9"')
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(str(path))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with a policy and other things, on the import path."""
    name = f"rules_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from usher.core.domain.policy import Verdict\n\nNUMBER = 1\n\n\n"
        "def decide(applicant):\n    return Verdict(roles=frozenset({applicant.provider}))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_a_name_with_a_colon_is_a_callable(module: str) -> None:
    """It is imported and called with the applicant."""
    policy = load_policy(f"{module}:decide")
    assert policy.describe() == [f"The callable {module}:decide decides."]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("{module}:absent", "cannot be loaded: "),
        ("{module}:NUMBER", "is not callable"),
        ("{module}_absent:decide", "cannot be loaded: No module named"),
        ("{module}.deeper:decide", "cannot be loaded: No module named"),
        (":decide", "cannot be loaded: "),
        ("{module}:", "cannot be loaded: "),
        (".relative:decide", "cannot be loaded: "),
    ],
)
def test_a_callable_that_is_not_there_is_a_policy_error(
    module: str, name: str, problem: str
) -> None:
    """Module, function, or the name itself."""
    source = name.format(module=module)
    with pytest.raises(PolicyError) as caught:
        load_policy(source)
    assert caught.value.where == source
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize("text", ["raise KeyError('x')", "def decide(:", "1 / 0"])
def test_a_module_that_breaks_while_imported_is_a_policy_error(
    module: str, tmp_path: Path, text: str
) -> None:
    """Whatever the module's own code raises, the process stops with a sentence."""
    broken = f"{module}_{sum(map(ord, text))}"
    (tmp_path / f"{broken}.py").write_text(text)
    with pytest.raises(PolicyError, match="cannot be loaded"):
        load_callable(f"{broken}:decide")


def test_the_type_that_callables_return_is_public() -> None:
    """A policy's author needs two names of ours: Applicant and Verdict."""
    assert Verdict() == Verdict(True, "", frozenset(), {}, (), ())


def test_the_outage_table_refuses_some_events_and_answers_the_rest() -> None:
    """Both words are known; nothing said means answered."""
    policy = parse_policy('[outage]\nlogin = "refuse"\nsignup = "answer"\n')
    assert policy.outage.refused == {EventName.LOGIN}
    assert policy.describe()[-1] == "Refuses while the database is away: login."
    assert parse_policy("").outage.refused == frozenset()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('outage = "refuse"', "[outage]: must be a table"),
        ('[outage]\nlogout = "refuse"', "[outage]: unknown key 'logout'"),
        ("[outage]\nlogin = false", '[outage] login: must be "answer" or "refuse"'),
    ],
)
def test_a_wrong_outage_table_is_named(text: str, said: str) -> None:
    """With its key."""
    with pytest.raises(PolicyError, match=re.escape(said)):
        parse_policy(text)
