"""The program under test at an SR on LVM, in the VM."""

import os
import shutil
import signal
import subprocess

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

    def ask(self, verb, *words, ok=(0,)):
        """A verb that only looks: LVM activates nothing for it, and changes nothing."""
        before = self._world()
        answer = oracles.coppice_json(verb, self.sr, *words, *self.options(), ok=ok)
        after = self._world()
        require(after == before, f"{verb} has changed something: {before} before, {after} after")
        return answer

    def _world(self):
        # Each device that comes or goes is an event of the kernel.
        with open("/sys/kernel/uevent_seqnum", encoding="utf-8") as file:
            events = int(file.read())
        return {"events": events, "active": self.group.active(), "sequence": self.group.sequence_number()}

    def run(self, *, ok=(0,)):
        return oracles.coppice_json("run", self.sr, "--once", *self.options(), ok=ok)

    def killed_run(self, changes):
        """False where it has ended before it was killed."""
        done = subprocess.run([oracles.binary(), "run", self.sr, "--once", *self.options(), "--json"], capture_output=True,
                              env={**os.environ, KILL_VARIABLE: str(changes)}, timeout=TIME, check=False)
        require(done.returncode in (0, -signal.SIGKILL),
                f"run --once after {changes} changes: status {done.returncode}\n{done.stderr.decode(errors='replace')[-2000:]}")
        return done.returncode != 0
