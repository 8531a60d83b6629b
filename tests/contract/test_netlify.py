"""The same requests through Netlify's own proxy, with its signed rewrites."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3

from functions._shared.headers import SITE_HEADERS
from tests.contract.cases import HOOK, Answer, Case, cases
from tests.contract.runtimes import Runtime, over_http
from tests.contract.test_contract import check
from tests.contract.world import VARIABLES
from tests.netlify_site import PROXY_SECRET, NetlifySite, netlify_site
from tests.support import ROOT, Server
