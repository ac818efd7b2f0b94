"""What must hold after the program was killed at any moment, and after the next run has cleaned up."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid

import oracles
import sr_state
from image_maker import MIB
from sr_maker import SrMaker

KILL_VARIABLE = "COPPICE_TEST_KILL_AFTER_CHANGES"
# A VHD's type stands in two footers, its parent in the header. Without the journal nobody completes such a change; all
# readers go by the first footer.
HALF_DONE = ("footers-differ", "parent-on-root")


class CrashSr:
    """One SR that is worked on, killed and recovered; what its disks hold was taken down before."""

    def __init__(self, directory, scratch, disks=None):
        self.directory, self.scratch, self.forgetful = directory, scratch, False
        self.disks = disks if disks is not None else sr_state.SrState(directory).fingerprints()

    @classmethod
    def copy_of(cls, template, disks, scratch, place=None):
        """A fresh copy in `place` (default: `scratch`), holes kept, with an empty journal."""
        directory = os.path.join(place or scratch, os.path.basename(template))
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(os.path.join(scratch, "state"), ignore_errors=True)
        subprocess.run(["cp", "-a", "--sparse=always", template, directory], check=True)
        return cls(directory, scratch, disks)

    def options(self):
        return ["--state-dir", os.path.join(self.scratch, "state"), "--run-dir", os.path.join(self.scratch, "run"), "--xapi", "none"]

    def command(self, *verb):
        return [oracles.binary(), verb[0], self.directory, *verb[1:], *self.options(), "--json"]

    def run(self, *verb, changes=None):
        """Exit status, negative when killed. `changes`: how many the program may make before it kills itself."""
        environment = dict(os.environ)
        environment.pop(KILL_VARIABLE, None)
        if changes is not None:
            environment[KILL_VARIABLE] = str(changes)
        done = subprocess.run(self.command(*verb), env=environment, capture_output=True, timeout=120)
        if done.returncode not in (0, -signal.SIGKILL):
            raise oracles.Failure(f"{' '.join(verb)} after {changes} changes: status {done.returncode}\n"
                                  f"{done.stderr.decode(errors='replace')[-1500:]}{done.stdout.decode(errors='replace')[-800:]}")
        return done.returncode

    def forget_journal(self):
        self.forgetful = True
        shutil.rmtree(os.path.join(self.scratch, "state"), ignore_errors=True)

    def require_unharmed(self, what):
        """Right after the kill: every disk reads the same; leaks are all that may be wrong with QCOW2.

        Between the two renames of a leaf, its bytes are those of OLD_<uuid>.
        """
        state = sr_state.SrState(self.directory)
        sr_state.require_same_disks(self.disks, state, what)
        sr_state.require_sound(state, what, leaks_allowed=True, by_coppice=False)

    def require_finished(self, what):
        """The next run leaves nothing behind: no half-done merge, no entry of sm's journal, no leak."""
        status = self.run("run", "--once")
        if status:
            raise oracles.Failure(f"{what}: the recovering run ends with {status}")
        state = sr_state.SrState(self.directory)
        sr_state.require_same_disks(self.disks, state, what)
        sr_state.require_visible(self.disks, state, what)
        again = oracles.coppice_json("run", self.directory, "--once", *self.options())
        if again["done"] or again["failed"]:
            raise oracles.Failure(f"{what}: the run after recovery was not the last: {again}")
        skipped = {entry["vdi"]: entry["reason"] for entry in again["skipped"]}
        sr_state.require_tidy(state, skipped, what)
        sr_state.require_sound(state, what, harmless=HALF_DONE if self.forgetful else ())
        for name in os.listdir(self.directory):
            if not sr_state.NAME.match(name):
                raise oracles.Failure(f"{what}: {name} is left in the SR")


def require_faulty_build(scratch_root):
    """Ends the test as skipped (status 77) where the program does not know KILL_VARIABLE."""
    with tempfile.TemporaryDirectory(dir=scratch_root) as scratch:
        directory = os.path.join(scratch, str(uuid.uuid4()))
        maker = SrMaker(directory, random.Random(0), snapshots=False)
        maker.chain(("qcow2", True, MIB))
        maker.build()
        if CrashSr(directory, scratch, {}).run("run", "--once", changes=0) != -signal.SIGKILL:
            print("this build of the program does not kill itself: skipped")
            sys.exit(77)
