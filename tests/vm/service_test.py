"""The shipped units under a real systemd: see service_guest.py for what is required of them."""

import os
import random
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
GUEST = os.path.join(HERE, "service_guest.py")


def main():
    seed = os.environ.setdefault("SERVICE_SEED", str(random.randrange(1 << 32)))
    print(f"SERVICE_SEED={seed}", flush=True)
    os.environ.setdefault("COPPICE_BUILD", os.path.dirname(os.path.dirname(os.environ["COPPICE_BINARY"])))
    python = "/usr/bin/python3 -B"
    return subprocess.run([os.path.join(HERE, "run-in-vm"), "--systemd", "--timeout", "540", "--disk", "2G", "--disk", "128M",
                           "--verify", f"{python} {shlex.quote(GUEST)} second", "--", *python.split(), GUEST, "first"],
                          check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
