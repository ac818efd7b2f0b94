#!/usr/bin/python3
"""A host that does not let the program work: read-only, forbidden, broken and vanished SRs. A clear error, no harm, and the next run
finishes when the host is well again. Needs root, loop devices, and a build that knows COPPICE_TEST_STOP_AFTER_CHANGES."""

import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support", "py"))

import crash_case  # noqa: E402
import oracles  # noqa: E402
import seeded_runner  # noqa: E402
import sr_state  # noqa: E402
from image_maker import MIB  # noqa: E402
from known_chain import SHAPES, KnownChain  # noqa: E402
from loop_fs import LoopFs, require_mounts  # noqa: E402
from stopped_program import StoppedProgram, finished_run  # noqa: E402

FAILED, REFUSED = 1, 4
NOBODY = 65534
STRIDE = 5


class HostTest(unittest.TestCase):
    """Each test works on copies of one SR, on a file system of its own."""

    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="coppice-host-", dir=seeded_runner.scratch_root())
        self.addCleanup(shutil.rmtree, self.scratch)
        self.fs = LoopFs(os.path.join(self.scratch, "fs"), 24 * MIB)
        self.addCleanup(self.fs.close)

    def make(self, shape):
        rng = random.Random(7)
        self.template = os.path.join(self.scratch, "template", str(uuid.UUID(int=rng.getrandbits(128), version=4)))
        shutil.rmtree(self.template, ignore_errors=True)
        self.chain = KnownChain.of(SHAPES[shape], self.template, rng)
        self.names = [layer.uuid for layer in self.chain.layers]
        self.disks = sr_state.SrState(self.template).fingerprints()

    def fresh(self):
        return crash_case.CrashSr.copy_of(self.template, self.disks, self.scratch, self.fs.root)

    def files(self):
        found = []
        for entry in os.scandir(os.path.join(self.fs.root, os.path.basename(self.template))):
            status = entry.stat()
            found.append((entry.name, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        return sorted(found)

    def at_every_change(self, act):
        """Calls act(sr, stopped program) with the program stopped before every few changes, until it ends before."""
        changes = 0
        while True:
            sr = self.fresh()
            with StoppedProgram(sr.command(*self.chain.verb), changes, "merge") as program:
                if not program.stopped:
                    break
                act(sr, program)
            sr.require_finished(program.what)
            changes += STRIDE
        self.assertGreater(changes, 3 * STRIDE, "the merge makes more changes than these")

    def looks(self, sr):
        """What only looks works."""
        for verb in ("tree", "plan", "check"):
            oracles.coppice_json(verb, sr.directory, *sr.options(), ok=(0, 3) if verb == "check" else (0,))
        for layer in self.chain.layers:
            if os.path.exists(os.path.join(sr.directory, layer.name)):
                oracles.coppice_sha256(os.path.join(sr.directory, layer.name))


class ReadOnly(HostTest):
    def refused(self, sr, what):
        """A run on the SR while it is read-only, and one when it can be written to again. False where nothing was to be done."""
        self.fs.remount("ro")
        try:
            before = self.files()
            ended = finished_run(sr.command("run", "--once"), what)
            self.looks(sr)
            self.assertEqual(self.files(), before, what)
        finally:
            self.fs.remount("rw")
        sr.require_finished(what)
        if self.files() == before:
            ended.require_status(0)
            return False
        ended.require_status(FAILED)
        ended.require_error(code="failed", names=self.names, words=["Read-only file system"])
        return True

    def test_work_is_pending(self):
        for shape in ("leaf down vhd", "inner up qcow2"):
            self.make(shape)
            self.assertTrue(self.refused(self.fresh(), shape))

    def test_work_was_interrupted(self):
        for shape in ("leaf down vhd", "leaf down qcow2", "inner down vhd"):
            self.make(shape)
            changes, refusals = 1, 0
            sr = self.fresh()
            while sr.run(*self.chain.verb, changes=changes):
                refusals += self.refused(sr, f"{shape}, killed before change {changes}")
                changes += STRIDE
                sr = self.fresh()
            self.assertGreater(refusals, 3)


class Vanishing(HostTest):
    """In the middle of a run."""

    def test_unmounted(self):
        def act(sr, program):
            self.fs.unmount(lazy=True)
            program.go_on().require_status(0, FAILED)
            self.fs.mount()
            sr.require_unharmed(program.what)
        self.make("leaf down qcow2")
        self.at_every_change(act)

    def test_renamed(self):
        def act(sr, program):
            os.rename(sr.directory, sr.directory + ".away")
            ended = program.go_on()
            ended.require_status(0, FAILED)
            os.rename(sr.directory + ".away", sr.directory)
            sr.require_unharmed(program.what)
        self.make("inner down vhd")
        self.at_every_change(act)

    def test_broken(self):
        """The device fails: what was not flushed is lost, as when power fails."""
        def act(sr, program):
            self.fs.break_down()
            ended = program.go_on()
            ended.require_status(0, FAILED, REFUSED)  # an image that cannot be read at all is refused
            if ended.status:
                ended.require_error(code="failed" if ended.status == FAILED else "image-unknown", names=[*self.names, sr.directory])
                self.failures_seen += 1
            self.fs.unmount()
            self.fs.mount()
            sr.require_unharmed(program.what)
        for shape in ("leaf down vhd", "leaf up qcow2"):
            self.failures_seen = 0
            self.make(shape)
            self.fs.sync()
            self.at_every_change(act)
            self.assertGreater(self.failures_seen, 3)

    def fresh(self):
        sr = super().fresh()
        self.fs.sync()
        return sr


class Forbidden(HostTest):
    """As a user who may not."""

    def setUp(self):
        super().setUp()
        os.chmod(self.scratch, 0o711)
        self.program = os.path.join(self.scratch, "coppice")
        shutil.copy(oracles.binary(), self.program)
        os.chmod(self.program, 0o755)
        self.own = os.path.join(self.scratch, "own")
        os.mkdir(self.own)
        os.chown(self.own, NOBODY, NOBODY)
        self.make("leaf down vhd")
        self.sr = self.fresh()
        os.chmod(self.fs.root, 0o755)

    def run_as_nobody(self, state="own"):
        command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", self.program, "run", self.sr.directory,
                   "--once", "--json", "--xapi", "none", "--state-dir", os.path.join(self.scratch, state, "state"),
                   "--run-dir", os.path.join(self.own, "run")]
        before = self.files()
        ended = finished_run(command, "as nobody")
        self.assertEqual(self.files(), before)
        ended.require_status(FAILED)
        return ended

    def test_the_directory(self):
        os.chmod(self.sr.directory, 0o700)
        self.run_as_nobody().require_error(code="failed", names=[self.sr.directory], words=["Permission denied"])
        self.sr.require_finished("as root again")

    def test_the_images(self):
        os.chmod(self.sr.directory, 0o755)
        self.run_as_nobody().require_error(code="failed", names=["/proc/", *self.names], words=["Permission denied"])

    def test_who_has_images_open(self):
        """What cannot be seen is not free: root without CAP_SYS_PTRACE does not see what other users have open."""
        reader = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "bash", "-c", "for image; do exec {fd}<\"$image\" || exit; done; echo open; cat", "reader"]
        os.chmod(self.sr.directory, 0o755)
        images = [os.path.join(self.sr.directory, name) for name in os.listdir(self.sr.directory)]
        for image in images:
            os.chmod(image, 0o644)
        before = self.files()
        with subprocess.Popen([*reader, *images], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            self.assertEqual(holder.stdout.readline(), b"open\n")
            blind = finished_run(["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", "--",
                                  *self.sr.command("run", "--once")], "without CAP_SYS_PTRACE")
            blind.require_status(FAILED)
            blind.require_error(code="failed", names=["/proc/"], words=["CAP_SYS_PTRACE"])
            self.assertEqual(self.files(), before)
            holder.stdin.close()
        self.sr.require_finished("with it again")

    def test_the_journal(self):
        os.chmod(self.sr.directory, 0o755)
        os.mkdir(os.path.join(self.scratch, "not own"), stat.S_IRWXU)
        self.run_as_nobody(state="not own").require_error(code="failed", names=["not own"], words=["Permission denied"])


if __name__ == "__main__":
    oracles.binary()
    require_mounts()
    crash_case.require_faulty_build(seeded_runner.scratch_root())
    unittest.main()
