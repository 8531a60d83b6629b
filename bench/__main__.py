"""`make bench`: every benchmark, one after the other, with its defaults."""

import subprocess
import sys

for module in ("bench.startup", "bench.events_http", "bench.api_http", "bench.flat"):
    print(f"\n== {module}", flush=True)
    subprocess.run([sys.executable, "-m", module], check=True)
