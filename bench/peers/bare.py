"""The least that a Granian worker can be: it answers every request at once.

Usage: python bare.py PORT. Its times show what the machine alone costs a request.
"""

import sys
from typing import Any

from granian import Granian
from granian.constants import Interfaces


async def application(_scope: Any, exchange: Any) -> None:
    exchange.response_str(200, [("content-type", "application/json")], '{"status":"ok"}')


def main(port: int) -> None:
    server = Granian(
        "bare", address="127.0.0.1", port=port, interface=Interfaces.RSGI, log_enabled=False
    )
    server.serve(target_loader=lambda _: application)


if __name__ == "__main__":
    main(int(sys.argv[1]))
