"""Settings: every value that is taken, every one that is refused, and in what words."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.core.errors import SettingsError
from usher.core.jws import MIN_SECRET_BYTES, Tolerance
from usher.core.settings import DOOR_WITHOUT_LIMIT, PREFIX, Settings

NEW, OLD = "n" * 32, "o" * 32
INSTANCE = "5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51"

DEFAULTS: dict[str, Any] = {
    "database_url": "sqlite:///usher.db",
    "webhook_secrets": (NEW.encode(),),
    "jwt_secret": None,
    "jwt_audience": None,
    "identity_url": None,
    "identity_admin_token": None,
    "use_platform_token": False,
    "trust_platform": "",
    "bridge_url": None,
    "bridge_secret": (),
    "proxy_secret": (),
    "instance_id": None,
    "policy": "policy.toml",
    "policy_shadow": "",
    "handlers": (),
    "denied_changes": False,
    "mode": "live",
    "admin_role": "admin",
    "allowed_origins": (),
    "webhook_tolerance_seconds": 300,
    "webhook_ahead_seconds": 60,
    "max_body_bytes": 262_144,
    "ledger_retention_days": 90,
    "audit_retention_days": 0,
    "pending_days": 30,
    "metrics_token": None,
    "api_requests_per_minute": 1_200,
    "api_address_requests_per_minute": 3_000,
    "trusted_proxies": (),
    "sync_interval_seconds": 0,
    "spool": "",
    "door": False,
    "door_limit": "",
    "url": None,
    "key": None,
    "sink_networks": (),
}

GOOD: list[tuple[str, str, Any]] = [
    ("database_url", "sqlite:////var/lib/usher.db", "sqlite:////var/lib/usher.db"),
    ("database_url", "postgresql+psycopg://u:p@db/x", "postgresql+psycopg://u:p@db/x"),
    ("database_url", "postgres://u:p@db:1/x", "postgresql+psycopg://u:p@db:1/x"),
    ("database_url", "POSTGRES://u:p@db/x", "postgresql+psycopg://u:p@db/x"),
    ("database_url", "postgres://u@%2Frun/x", "postgresql+psycopg://u@%2Frun/x"),
    ("database_url", "postgresql://a:1,b/x?port=1", "postgresql+psycopg://a:1,b/x?port=1"),
    (
        "database_url",
        "postgresql://db/x?connect_timeout=1",
        "postgresql+psycopg://db/x?connect_timeout=1",
    ),
    ("webhook_secrets", NEW, (NEW.encode(),)),
    ("webhook_secrets", f" {NEW} , {OLD} ", (NEW.encode(), OLD.encode())),
    ("webhook_secrets", "é" * 16, (("é" * 16).encode(),)),
    ("jwt_secret", NEW, NEW.encode()),
    ("metrics_token", NEW, NEW),
    ("api_requests_per_minute", "0", 0),
    ("api_address_requests_per_minute", "1000000", 1_000_000),
    ("trusted_proxies", "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    ("sink_networks", "10.0.0.0/8,::1", (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    ("jwt_audience", "api.example", "api.example"),
    ("identity_url", "https://a.example/identity/", "https://a.example/identity"),
    ("identity_url", "http://127.0.0.1:9999", "http://127.0.0.1:9999"),
    ("identity_admin_token", "an.operator.token", "an.operator.token"),
    ("use_platform_token", "on", True),
    ("trust_platform", "netlify-v1", "netlify-v1"),
    ("trust_platform", " api-gateway ", "api-gateway"),
    ("bridge_url", "https://a.example/bridge/", "https://a.example/bridge"),
    ("bridge_secret", f"{NEW},{OLD}", (NEW.encode(), OLD.encode())),
    ("proxy_secret", f"{NEW},{OLD}", (NEW.encode(), OLD.encode())),
    ("instance_id", INSTANCE, UUID(INSTANCE)),
    ("instance_id", INSTANCE.upper(), UUID(INSTANCE)),
    ("policy", "/etc/usher/policy.toml", "/etc/usher/policy.toml"),
    ("policy", "rules.site:decide", "rules.site:decide"),
    ("policy_shadow", "next.toml", "next.toml"),
    ("handlers", "mysite.hooks, other,,mysite.hooks", ("mysite.hooks", "other")),
    ("denied_changes", "on", True),
    ("mode", "observe", "observe"),
    ("mode", " live ", "live"),
    ("admin_role", "owner", "owner"),
    ("allowed_origins", "https://a.example", ("https://a.example",)),
    (
        "allowed_origins",
        "https://a.example, http://localhost:8888 ,",
        ("https://a.example", "http://localhost:8888"),
    ),
    ("webhook_tolerance_seconds", "1", 1),
    ("webhook_tolerance_seconds", "86400", 86_400),
    ("webhook_ahead_seconds", "0", 0),
    ("webhook_ahead_seconds", "86400", 86_400),
    ("max_body_bytes", "1024", 1_024),
    ("max_body_bytes", "6291456", 6_291_456),
    ("ledger_retention_days", " 1 ", 1),
    ("ledger_retention_days", "36500", 36_500),
    ("audit_retention_days", "0", 0),
    ("audit_retention_days", "36500", 36_500),
    ("pending_days", "0", 0),
    ("pending_days", "36500", 36_500),
    ("sync_interval_seconds", "0", 0),
    ("sync_interval_seconds", "60", 60),
    ("spool", "/var/spool/usher", "/var/spool/usher"),
    ("door", "on", True),
    ("door", " off ", False),
    ("door_limit", "AWS WAF, rule door", "AWS WAF, rule door"),
    ("url", "https://usher.example/", "https://usher.example"),
    ("key", NEW, NEW),
]

BAD: list[tuple[str, str, str]] = [
    ("database_url", "mysql://db/x", "must begin with sqlite:/// or postgresql://"),
    ("database_url", "postgresql+psycopg2://db/x", "must begin with"),
    ("database_url", "postgres://db:port/x", "cannot be read"),
    ("database_url", "usher.db", "must begin with"),
    ("database_url", "postgresql+psycopg://db:port/x", ""),
    ("database_url", "sqlite:///", ""),
    ("webhook_secrets", "", "is empty. Make one with: usher secret"),
    ("webhook_secrets", "   ", "is empty. Make one with: usher secret"),
    ("webhook_secrets", f"{NEW},", "is empty. Make one with: usher secret"),
    ("webhook_secrets", f",{NEW}", "is empty"),
    ("webhook_secrets", "s" * 31, "holds a secret of 31 bytes; fewer than 32 can be guessed"),
    ("webhook_secrets", f"{NEW},short", "holds a secret of 5 bytes"),
    ("jwt_secret", "", "is empty. Make one with: usher secret"),
    ("jwt_secret", "s" * 31, "holds a secret of 31 bytes"),
    ("api_requests_per_minute", "-1", "must be a whole number from 0 to 1000000"),
    ("api_address_requests_per_minute", "many", "must be a whole number from 0 to 1000000"),
    ("handlers", "mysite/hooks.py", "must name modules, such as mysite.hooks, not 'mysite/hooks"),
    ("handlers", "mysite.hooks:f", "must name modules, such as mysite.hooks, not 'mysite.hooks:f'"),
    ("trusted_proxies", "10.0.0.1/8", "must hold addresses or networks: 10.0.0.1/8 has host bits"),
    ("trusted_proxies", "proxy.example", "must hold addresses or networks"),
    ("sink_networks", "localhost", "must hold addresses or networks"),
    ("metrics_token", "s" * 31, "holds a secret of 31 bytes"),
    ("metrics_token", "s" * 31 + " s", "must be printable ASCII without spaces"),
    ("metrics_token", "\u00e9" * 32, "must be printable ASCII without spaces"),
    ("identity_url", "site.example", "must begin with https:// or http://"),
    ("identity_url", "ftp://site.example", "must begin with https:// or http://"),
    ("identity_url", "https://", ""),
    ("use_platform_token", "yes", "must be on or off"),
    ("trust_platform", "netlify", "must be netlify-v1 or api-gateway, not 'netlify'"),
    ("trust_platform", "on", "must be netlify-v1 or api-gateway"),
    ("bridge_url", "site.example", "must begin with https:// or http://"),
    ("bridge_secret", "", "is empty. Make one with: usher secret"),
    ("bridge_secret", f"{NEW},short", "holds a secret of 5 bytes"),
    ("proxy_secret", "", "is empty. Make one with: usher secret"),
    ("proxy_secret", "s" * 31, "holds a secret of 31 bytes"),
    ("instance_id", "default", "must be a UUID"),
    ("allowed_origins", "*", "holds '*'; write each as browsers do"),
    ("allowed_origins", "https://*.example", "holds 'https://*.example'"),
    ("allowed_origins", "https://a.example/", "holds 'https://a.example/'"),
    ("allowed_origins", "https://a.example,b.example", "holds 'b.example'"),
    ("allowed_origins", "null", "holds 'null'"),
    ("allowed_origins", "https://", "holds 'https://'"),
    ("webhook_tolerance_seconds", "0", "must be a whole number from 1 to 86400, not '0'"),
    ("webhook_tolerance_seconds", "86401", "must be a whole number from 1 to 86400"),
    ("webhook_tolerance_seconds", "5m", "must be a whole number"),
    ("webhook_ahead_seconds", "-1", "must be a whole number from 0 to 86400, not '-1'"),
    ("webhook_ahead_seconds", "1.5", "must be a whole number"),
    ("max_body_bytes", "1023", "must be a whole number from 1024 to 6291456"),
    ("max_body_bytes", "6291457", "must be a whole number from 1024 to 6291456"),
    ("max_body_bytes", "1e6", "must be a whole number"),
    ("ledger_retention_days", "0", "must be a whole number from 1 to 36500"),
    ("ledger_retention_days", "36501", "must be a whole number from 1 to 36500"),
    ("audit_retention_days", "-1", "must be a whole number from 0 to 36500"),
    ("audit_retention_days", "36501", "must be a whole number from 0 to 36500"),
    ("pending_days", "-1", "must be a whole number from 0 to 36500"),
    ("pending_days", "36501", "must be a whole number from 0 to 36500"),
    ("sync_interval_seconds", "59", "must be a whole number from 60 to 2592000"),
    ("mode", "watch", "must be live or observe, not 'watch'"),
    ("denied_changes", "1", "must be on or off, not '1'"),
    ("door", "yes", "must be on or off, not 'yes'"),
    ("door", "ON", "must be on or off, not 'ON'"),
    ("door_limit", "on", "must name a limit, such as: AWS WAF"),
    ("door_limit", "True", "must name a limit"),
    ("door_limit", "a\nb", "must name a limit"),
    ("door_limit", "a" * 101, "must name a limit"),
    ("url", "usher.example", "must begin with https:// or http://"),
    ("url", "https://", "names no host"),
    ("key", "", "is empty. Make one with: usher secret"),
    ("key", "k" * 31, "holds a secret of 31 bytes"),
    ("key", "k" * 31 + " k", "must be printable ASCII without spaces"),
]


PARTNERS = {
    "bridge_url": {"bridge_secret": NEW},
    "bridge_secret": {"bridge_url": "https://a.example/bridge"},
}


def read(**variables: str) -> Settings:
    """Settings from these fields' variables, with what none can be without unless it is given."""
    environ = {"webhook_secrets": NEW}
    for name in variables:
        environ |= PARTNERS.get(name, {})
    environ |= variables
    return Settings.from_env({PREFIX + name.upper(): text for name, text in environ.items()})


def problems(**variables: str) -> tuple[str, ...]:
    """What is wrong with these fields' variables."""
    with pytest.raises(SettingsError) as caught:
        read(**variables)
    return caught.value.problems


def test_a_secret_is_all_that_must_be_set() -> None:
    """Everything else has a documented default."""
    assert {name: getattr(read(), name) for name in Settings.__struct_fields__} == DEFAULTS


@pytest.mark.parametrize("name", PARTNERS)
def test_half_a_bridge_is_none(name: str) -> None:
    """Its address and its secret go together."""
    (partner,) = PARTNERS[name]
    value = PARTNERS[partner][name]
    with pytest.raises(SettingsError, match="go together"):
        Settings.from_env({"USHER_WEBHOOK_SECRETS": NEW, PREFIX + name.upper(): value})


def test_door_needs_a_limit_by_address_behind_netlify() -> None:
    """All requests come from Netlify's addresses there; a limit in front must be named."""
    behind = {"door": "on", "proxy_secret": NEW}
    assert problems(**behind) == (DOOR_WITHOUT_LIMIT,)
    assert read(**behind, door_limit="Netlify, rule door").door
    assert not read(proxy_secret=NEW, door="off").door


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_good_values_are_read(name: str, text: str, value: Any) -> None:
    """Each setting in every form that is allowed, outer spaces aside."""
    assert getattr(read(**{name: text}), name) == value


@pytest.mark.parametrize(("name", "text", "words"), BAD)
def test_bad_values_are_refused_by_name(name: str, text: str, words: str) -> None:
    """Each refusal is one sentence that begins with the variable's name."""
    (problem,) = problems(**{name: text})
    assert problem.startswith(f"{PREFIX}{name.upper()} {words}")


def test_the_tables_name_every_setting() -> None:
    """A new setting without a row here fails."""
    names = set(Settings.__struct_fields__)
    assert {name for name, _, _ in GOOD} == names == set(DEFAULTS)
    assert {name for name, _, _ in BAD} == names - {
        "identity_admin_token",
        "jwt_audience",
        "policy",
        "policy_shadow",
        "admin_role",
        "spool",
    }


SECRETS = {"webhook_secrets", "jwt_secret", "bridge_secret", "proxy_secret", "key"}


@pytest.mark.parametrize("name", sorted(set(DEFAULTS) - SECRETS - {"bridge_url"}))
def test_an_empty_variable_means_the_default(name: str) -> None:
    """Except for secrets, where empty is a mistake that must not pass."""
    assert getattr(read(**{name: "  "}), name) == DEFAULTS[name]


def test_no_secret_at_all_says_how_to_make_one() -> None:
    """No secret means closed, and the sentence says what to run."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({})
    assert caught.value.problems == (
        (
            "USHER_WEBHOOK_SECRETS is not set, so no event could be verified. "
            "Make one with: usher secret"
        ),
    )


def test_all_problems_are_reported_at_once_in_the_order_of_their_names() -> None:
    """Nobody has to start three times to find three mistakes."""
    found = problems(
        webhook_secrets="short", jwt_secret="", instance_id="x", max_body_bytes="no", typo="x"
    )
    assert [problem.split()[0] for problem in found] == [
        "USHER_INSTANCE_ID",
        "USHER_JWT_SECRET",
        "USHER_MAX_BODY_BYTES",
        "USHER_TYPO",
        "USHER_WEBHOOK_SECRETS",
    ]


def test_an_unknown_variable_with_our_prefix_is_refused() -> None:
    """A misspelt setting must not be silently without effect."""
    assert problems(webhook_secret=NEW) == (
        "USHER_WEBHOOK_SECRET is not a setting of Usher. See docs/settings.md.",
    )


def test_variables_without_the_prefix_are_not_looked_at() -> None:
    """The environment is full of other programs' variables; case counts."""
    environ = {"USHER_WEBHOOK_SECRETS": NEW, "DATABASE_URL": "x", "usher_policy": "x"}
    assert Settings.from_env(environ) == read()


def test_secrets_keep_their_order_newest_first() -> None:
    """The newest signs, every one verifies: the order is the rotation."""
    assert read(webhook_secrets=f"{NEW},{OLD}").webhook_secrets == (NEW.encode(), OLD.encode())
    assert read(webhook_secrets=f"{OLD},{NEW}").webhook_secrets == (OLD.encode(), NEW.encode())


def test_the_window_is_made_of_both_settings() -> None:
    """How old and how far ahead are set apart."""
    settings = read(webhook_tolerance_seconds="10", webhook_ahead_seconds="5")
    assert settings.tolerance == Tolerance(back_seconds=10, ahead_seconds=5)


@pytest.mark.parametrize(
    ("url", "scheme"),
    [("sqlite:///usher.db", "sqlite"), ("postgresql+psycopg://u:pw@db/x", "postgresql")],
)
def test_the_representation_shows_no_secret(url: str, scheme: str) -> None:
    """Neither secrets, nor tokens, nor the database's password reach a log by repr."""
    settings = read(
        webhook_secrets=f"{NEW},{OLD}",
        jwt_secret="j" * 32,
        identity_admin_token="token",
        database_url=url,
    )
    assert repr(settings) == str(settings) == f"Settings(database={scheme}, secrets=2)"


@given(st.text("abcdef0123456789", min_size=4, max_size=MIN_SECRET_BYTES - 1))
def test_a_refusal_never_repeats_the_secret(secret: str) -> None:
    """Whoever mistypes a secret must not find it in the log."""
    for name in sorted(SECRETS):
        assert not any(f" {secret}" in problem for problem in problems(**{name: secret}))


@given(
    st.dictionaries(
        st.sampled_from([PREFIX + name.upper() for name in Settings.__struct_fields__]),
        st.text(max_size=80),
    )
)
def test_any_environment_is_read_or_refused_as_a_whole(environ: dict[str, str]) -> None:
    """No text of any setting raises anything but SettingsError."""
    found: tuple[str, ...] = ()
    try:
        settings = Settings.from_env(environ)
    except SettingsError as error:
        found = error.problems or ("no problem named",)
    else:
        assert all(len(secret) >= MIN_SECRET_BYTES for secret in settings.webhook_secrets)
    assert all(problem.startswith(PREFIX) for problem in found)
