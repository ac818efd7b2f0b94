"""The program under test at an SR on LVM, in the VM."""

import contextlib
import os
import shutil
import signal
import subprocess

import chain_reader
import oracles
from crash_case import KILL_VARIABLE

PLACE = "/run/coppice-test"
TIME = 240  # seconds; the only processor of the VM may be shared with a whole test run


def require(condition, text):
    if not condition:
        raise oracles.Failure(text)


class Program:
    """With an empty journal."""

    def __init__(self, group):
        self.group = group
        self.sr = "vg:" + group.name
        shutil.rmtree(PLACE, ignore_errors=True)

    def options(self):
        return ["--state-dir", f"{PLACE}/state", "--run-dir", f"{PLACE}/run", "--xapi", "none"]

    @contextlib.contextmanager
    def touching_nothing(self, what):
        """Meanwhile LVM activates nothing and changes nothing."""
        before = self._world()
        yield
        after = self._world()
        require(after == before, f"{what} has changed something: {before} before, {after} after")

    def ask(self, verb, *words, ok=(0,)):
        """A verb that only looks."""
        with self.touching_nothing(verb):
            return oracles.coppice_json(verb, self.sr, *words, *self.options(), ok=ok)

    def read(self, lv):
        """The fingerprint of the disk of an LV, by way of `read --output`."""
        output = f"{PLACE}/read.raw"
        os.makedirs(PLACE, exist_ok=True)
        with self.touching_nothing("read"):
            oracles.coppice("read", self.group.path(lv), "--output", output, *self.options())
        found = chain_reader.fingerprint(PLACE, "read.raw")
        os.unlink(output)
        return found

    def _world(self):
        # Each device that comes or goes is an event of the kernel.
        with open("/sys/kernel/uevent_seqnum", encoding="utf-8") as file:
            events = int(file.read())
        return {"events": events, "active": self.group.active(), "sequence": self.group.sequence_number()}

    def run(self, *words, ok=(0,)):
        return oracles.coppice_json("run", self.sr, "--once", *words, *self.options(), ok=ok)

    def killed_run(self, changes):
        """False where it has ended before it was killed."""
        done = subprocess.run([oracles.binary(), "run", self.sr, "--once", *self.options(), "--json"], capture_output=True,
                              env={**os.environ, KILL_VARIABLE: str(changes)}, timeout=TIME, check=False)
        require(done.returncode in (0, -signal.SIGKILL),
                f"run --once after {changes} changes: status {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
        return done.returncode != 0
