"""`make bench`: every benchmark, one after the other, with its defaults."""

import subprocess
import sys

MODULES = (
    "bench.startup",
    "bench.events_http",
    "bench.api_http",
    "bench.flat",
    "bench.aws_lambda",
)
for module in MODULES:
    print(f"\n== {module}", flush=True)
    subprocess.run([sys.executable, "-m", module], check=True)
