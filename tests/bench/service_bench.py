#!/usr/bin/python3
"""How much memory a service of a large SR needs while it rests.

    service_bench.py [--images 10000] [--keep DIR]     COPPICE_BINARY names the program

Two SRs of half VHD and half QCOW2: one in which nothing is left to do (a hidden root with nine leaves, again and again), and one of
long chains in which everything waits, because the service is paused. In the form of a Markdown table.
"""

import argparse
import os
import platform
import random
import shutil
import sys
import tempfile
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.normpath(os.path.join(HERE, "../endurance")))

from watched_service import WatchedService  # noqa: E402  (it leads to tests/support/py as well)

import oracles  # noqa: E402
import watched_service  # noqa: E402
from scan_bench import Builder  # noqa: E402

MIB = 1 << 20
watched_service.LIMIT = 1800


class Settled(Builder):
    """Nothing to merge: all children of a root are visible."""

    def tree(self, kind, count):
        root = f"{self.new_uuid()}.{kind}"
        above = getattr(self, f"add_{kind}")(root, None, None, True)
        for _ in range(count - 1):
            getattr(self, f"add_{kind}")(f"{self.new_uuid()}.{kind}", root, above, False)


def measure(directory, paused):
    """(resident, of that its own, peak) in bytes, after the first cycle."""
    scratch = tempfile.mkdtemp(prefix="coppice-bench-")
    service = WatchedService(scratch, directory, 1, options=("--idle", "24h"))
    try:
        if paused:
            oracles.coppice("pause", directory, *service.places())
        service.start()
        service.ask("kick", wait=True)
        service.wait_until(lambda: service.status()["state"] in ("idle", "paused"), "at rest")
        status = dict(line.split(":", 1) for line in service.proc("status").splitlines())
        return [int(status[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon", "VmHWM")]
    finally:
        service.close()
        shutil.rmtree(scratch)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--keep", help="build the SRs below this directory and leave them, or use what an earlier run has left")
    options = parser.parse_args()
    oracles.binary()
    place = options.keep or tempfile.mkdtemp(prefix="coppice-bench-")
    try:
        print(f"{options.images} images, {platform.machine()}\n")
        print("| service | resident, MiB | of that its own | peak |\n| --- | --- | --- | --- |")
        for number, (text, builder, paused) in enumerate((("idle, nothing to do", Settled, False),
                                                          ("paused, everything waits", Builder, True))):
            directory = os.path.join(place, str(uuid.UUID(int=number + 1, version=4)))
            if not os.path.isdir(directory):
                os.makedirs(directory)
                builder(directory, random.Random(1)).build(options.images)
            print(f"| {text} | " + " | ".join(f"{size / MIB:.1f}" for size in measure(directory, paused)) + " |", flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
