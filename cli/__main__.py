"""``python -m cli`` is ``usher``."""

from cli.main import main

main()
