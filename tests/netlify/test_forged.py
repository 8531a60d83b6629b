"""Forged events and access tokens: refused inside Netlify's functions as anywhere."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.access_tokens import FORGED, good
from tests.api.api_support import JWT_SECRET, People
from tests.contract.cases import GENERIC_401
from tests.door import now
from tests.forgeries import FORGERIES
from tests.netlify.bootstrapped import bootstrapped, inside, logged
from tests.netlify.functions import HOOK, Functions
from tests.server.test_bad_input import BODIES, HEADERS, signup
from tests.store.store_support import counts
from tests.support import NOON, SECRET
from usher.core.app import App, use
from usher.core.errors import Check
