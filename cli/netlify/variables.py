"""The variables that a site on Netlify needs, and the commands of Netlify that set them."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from usher.cli.netlify.site import SetupError
from usher.cli.secret import new_secret

TIMEOUT_SECONDS: Final = 120
SCOPES: Final = ("builds", "functions", "runtime")
"""Those that a secret may have. Redirects are signed by what the build saw, and by the runtime."""
EXAMPLE_SITE: Final = "https://YOUR-SITE.netlify.app"
EXAMPLE_SECRET: Final = "<a secret, by: usher secret>"  # noqa: S105 - says how to make one


class Variable(NamedTuple):
    """A variable, for the production context only. Previews may hold anybody's change."""

    name: str
    value: str
    secret: bool

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``netlify`` that set it."""
        found = ["env:set", self.name, self.value, "--context", "production"]
        return [*found, "--secret", "--scope", *SCOPES] if self.secret else found

    @property
    def command(self) -> str:
        """The same as a line for the shell."""
        return shlex.join(["netlify", *self.arguments])


def wanted(*, site: str, host: bool, bridge: bool, fresh: bool) -> list[Variable]:
    """Return the variables that the site needs on Netlify.

    Args:
        site: its address.
        host: whether Usher runs on a host of its own.
        bridge: whether that host reaches Identity by the bridge.
        fresh: whether secrets are made; otherwise their values say how to make one.
    """
    if not host:
        names = ["USHER_WEBHOOK_SECRETS"]
    else:
        names = ["USHER_PROXY_SECRET", *(["USHER_BRIDGE_SECRET"] if bridge else [])]
    found = [Variable(name, new_secret() if fresh else EXAMPLE_SECRET, True) for name in names]
    if not host:
        found.append(Variable("USHER_IDENTITY_URL", f"{site}/.netlify/identity", False))
        found.append(Variable("USHER_USE_PLATFORM_TOKEN", "on", False))
    return found


class NetlifyCli:
    """Netlify's command line, in the folder of a site that is linked."""

    def __init__(self, folder: Path) -> None:
        """Find it, and ask which site is linked.

        Raises:
            SetupError: it is not there, nobody is logged in, or no site is linked.
        """
        self._folder = folder
        found = shutil.which("netlify")
        if found is None:
            raise SetupError(
                "netlify is not on the PATH. Run: npm install -g netlify-cli, then netlify link."
            )
        self._program = found
        status = self._json("status", "--json")
        data = status.get("siteData") if isinstance(status, dict) else None
        if not isinstance(data, dict):
            raise SetupError("No site is linked here. Run: netlify login, then netlify link.")
        self.site = str(data.get("site-url") or EXAMPLE_SITE).rstrip("/")

    def names(self) -> set[str]:
        """Return the names of the variables that production has."""
        found = self._json("env:list", "--json", "--context", "production")
        return set(found) if isinstance(found, dict) else set()

    def set(self, variable: Variable) -> str | None:
        """Set a variable that production does not have yet.

        Returns:
            A sentence where Netlify refused, without the value; None where it is set.
        """
        done = self._run(variable.arguments)
        if not done.returncode:
            return None
        said = f"{done.stderr.strip()} {done.stdout.strip()}".strip()
        said = said.replace(variable.value, "…") if variable.secret else said
        return f"Netlify did not take {variable.name}: {said[-500:]}"

    def _json(self, *arguments: str) -> Any:
        done = self._run(arguments)
        start = done.stdout.find("{")
        try:
            return json.JSONDecoder().raw_decode(done.stdout[start:])[0] if start >= 0 else None
        except ValueError:
            return None

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [self._program, *arguments]
        try:
            return subprocess.run(  # noqa: S603 - Netlify's own program, as the person has it
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            # The error's own words hold the arguments, and with them a secret.
            said = f"it could not be run ({type(error).__name__})"
            return subprocess.CompletedProcess([], 1, "", said)
