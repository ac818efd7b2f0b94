"""The harness itself: a VM boots, has what tests need, passes on what it must, and fails loudly where it cannot start."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import backends  # noqa: E402

RUN_IN_VM = os.path.join(HERE, "run-in-vm")
SEED = random.randrange(1 << 32)


class Smoke(unittest.TestCase):
    def test_passes_everything_through(self):
        """One VM, two boots: the second one follows a power cut."""
        rng = random.Random(SEED)
        print(f"seed {SEED}")
        content, status = rng.randbytes(300_000) + bytes(range(256)) + b"\r\n\x04\x03", rng.randrange(3, 120)
        with tempfile.TemporaryDirectory(prefix="coppice-vm-") as directory:
            disk, changed = os.path.join(directory, "disk"), os.path.join(directory, "changed")
            with open(disk, "wb") as file:
                file.write(content.ljust(1 << 20, b"\0"))
            environment = {**os.environ, "SMOKE_BYTES": str(len(content)), "SMOKE_STATUS": str(status), "SMOKE_FILE": changed,
                           "SMOKE_WORD": "a 'word' of $HOME"}
            sizes = [word for size in ("2M", "16M", "2M", disk) for word in ("--disk", size)]
            result = subprocess.run([RUN_IN_VM, "--timeout", "240", *sizes, "--", os.path.join(HERE, "smoke_guest.sh")],
                                    env=environment, capture_output=True, check=False)
            said = result.stderr.decode(errors="replace").splitlines()
            for expected in ("0 a 'word' of $HOME", "overlay", "replay", "power-cut"):
                self.assertIn(expected, said)
            self.assertEqual(result.returncode, status, said)
            self.assertEqual(result.stdout, content)
            self.assertFalse(os.path.exists(changed), "the guest has written to the host's file system")

    def test_tells_what_is_missing_instead_of_skipping(self):
        with unittest.mock.patch.object(backends, "UML", "/absent"), self.assertRaises(backends.VmFailed) as caught:
            backends.choose("uml")
        for package in backends.UML_PACKAGES + backends.QEMU_PACKAGES:
            self.assertIn(package, str(caught.exception))

    def test_fails_as_itself_where_no_vm_can_start(self):
        result = subprocess.run([RUN_IN_VM, "--disk", "/absent", "--", "true"], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 125, result.stderr)
        self.assertIn("/absent", result.stderr)

    def test_leaves_nothing_behind_when_it_is_stopped(self):
        with tempfile.TemporaryDirectory(prefix="coppice-vm-") as directory:
            process = subprocess.Popen([RUN_IN_VM, "--", "sh", "-c", "echo started; sleep 1000"], stdout=subprocess.PIPE,
                                       env={**os.environ, "RUN_IN_VM_TMP": directory})
            with process:
                self.assertEqual(process.stdout.readline(), b"started\n")
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(), 128 + signal.SIGTERM)
                self.assertEqual(process.stdout.read(), b"")
            self.assertEqual(os.listdir(directory), [])


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("tests in a VM must be run by root: user-mode Linux needs namespaces and the host's root file system")
    unittest.main()
