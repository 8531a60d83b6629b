"""Names of functions that Netlify calls itself: none is made, none is accepted beside Usher's."""

from __future__ import annotations

from pathlib import Path

import pytest

from usher.core.domain.events import EventName
from usher.netlify.reserved import (
    HANDLERS,
    NAMES,
    is_reserved,
    problems,
    typed_handlers,
    warnings,
)


def test_the_table_has_every_event_of_identitys() -> None:
    """An event that Identity learns to send is reserved, too."""
    assert {f"identity-{event.value}" for event in EventName} == NAMES
    assert len(HANDLERS) == len(NAMES)


@pytest.mark.parametrize("event", sorted(NAMES))
@pytest.mark.parametrize(
    "form",
    ["{}.mjs", "{}.ts", "{}.cts", "{}.go", "{}.rs", "{}.zip", "{}", "{}/index.js", "{}/{}.mts",
     "{}/main.go", "{}-background.js"],
)  # fmt: skip
def test_a_reserved_name_is_refused_in_every_form(event: str, form: str, tmp_path: Path) -> None:
    """By file, archive, binary or folder; the sentence says what to do."""
    path = tmp_path / form.replace("{}", event)
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    (said,) = problems(tmp_path)
    assert str(tmp_path / form.replace("{}", event).partition("/")[0]) in said
    assert "outgoing webhook" in said


@pytest.mark.parametrize(
    "name", ["identity.mjs", "identity-signups.mjs", "my-identity-signup.mjs", "api.mjs",
             "identity-signup.test.mjs", "identity_signup.py", "usher-maintenance.mjs"],
)  # fmt: skip
def test_other_names_are_the_sites_own(name: str, tmp_path: Path) -> None:
    """Those of Usher's own functions among them."""
    (tmp_path / name).write_text("export default () => new Response('');")
    assert problems(tmp_path) == []
    assert warnings(tmp_path) == []
    assert not is_reserved(name.partition(".")[0]) or name.count(".") > 1


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize(
    "text",
    [
        "export default {{ async {}(event) {{}} }}",
        "export default {{ fetch, {}: (event) => event.deny() }}",
        "const {} = (e) => e;\nexport default {{ {} }};",
        "const on = {{ {}, fetch }}\nmodule.exports = on",
    ],
)
def test_a_typed_handler_is_warned_of(handler: str, text: str, tmp_path: Path) -> None:
    """Netlify calls it without a body that is signed."""
    (tmp_path / "on-identity.mts").write_text(text.format(handler, handler))
    (said,) = warnings(tmp_path)
    assert handler in said
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        "// userSignup(event) is not for us\nexport default () => 1",
        "/* userLogin: a handler */ export default () => 1",
        "import { userLogin } from './x'",
        "export default () => api.userLogin()",
        "export default () => userSignupForm()",
    ],
)
def test_what_only_mentions_one_is_not(text: str, tmp_path: Path) -> None:
    """A comment, a method of something else, a longer name, a file without a default export."""
    (tmp_path / "other.ts").write_text(text)
    assert list(typed_handlers(tmp_path)) == []


def test_packages_and_missing_folders_are_not_looked_into(tmp_path: Path) -> None:
    """A site's packages are no functions of its own."""
    inner = tmp_path / "node_modules" / "x"
    inner.mkdir(parents=True)
    (inner / "index.js").write_text("export default { userSignup() {} }")
    assert list(typed_handlers(tmp_path)) == []
    assert problems(tmp_path / "none") == []
    assert warnings(tmp_path / "none") == []
