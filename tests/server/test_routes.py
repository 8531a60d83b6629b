"""The table of addresses."""

from __future__ import annotations

import gc
import weakref

from usher.server import routes


class Path(str):
    """A path that can be watched."""

    __slots__ = ("__weakref__",)


def test_a_path_that_nothing_answers_is_not_remembered() -> None:
    """Whoever asks for ever new paths fills no memory."""
    path = Path("/nothing")
    gone = weakref.ref(path)
    assert routes.find_hook(path) is None
    del path
    gc.collect()
    assert gone() is None


def test_a_hook_is_loaded_once() -> None:
    """The same object answers every request."""
    path = "/.netlify/functions/identity"
    assert routes.find_hook(path) is routes.find_hook(path)
