#!/usr/bin/python3
"""On a host with the storage manager, what is done stands in its log: syslog, ident SMGC, facility local2. Needs root: the host's
/opt and /dev/log are stood in for in a mount namespace of its own."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from cli_support import SOURCE, CliTest, make_demo

sys.path.insert(0, os.path.join(SOURCE, "tests", "support", "py"))

import loop_fs  # noqa: E402

LOCAL2, INFO = 18, 6


def own_devices(scratch):
    """/dev with the few devices that a program needs, so that /dev/log is ours."""
    subprocess.run(["mount", "--rbind", "/dev", scratch], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/dev"], check=True)
    for name in ("null", "urandom"):
        with open(os.path.join("/dev", name), "xb"):
            pass
        subprocess.run(["mount", "--bind", os.path.join(scratch, name), os.path.join("/dev", name)], check=True)


class Syslog:
    """Reads at once, as a daemon does: a full queue would stop the writer."""

    def __init__(self):
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("/dev/log")
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        while line := self.socket.recv(65536):
            self.lines.append(line.decode())

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", "/dev/log")
        self.reader.join()
        self.socket.close()
        os.unlink("/dev/log")
        return self.lines


class HostLog(CliTest):
    def run_once(self):
        make_demo(self.sr)
        log = Syslog()
        try:
            self.coppice("run", self.sr, "--once")
        finally:
            lines = log.close()
        return lines

    def test_with_the_storage_manager(self):
        os.makedirs("/opt/xensource/sm", exist_ok=True)
        lines = self.run_once()
        self.assertTrue(any("deleted vdi=cccccccc-0004" in line for line in lines), lines)
        for line in lines:
            self.assertRegex(line, r"^<\d+>.*SMGC\[\d+\]: ")
            priority = int(re.match(r"<(\d+)>", line).group(1))
            self.assertEqual(priority >> 3, LOCAL2)
            self.assertLessEqual(priority & 7, INFO)

    def test_without_it(self):
        self.assertFalse(os.path.exists("/opt/xensource"))
        self.assertEqual(self.run_once(), [])


if __name__ == "__main__":
    loop_fs.require_mounts()
    with tempfile.TemporaryDirectory() as scratch_directory:
        subprocess.run(["mount", "-t", "tmpfs", "none", "/opt"], check=True)
        own_devices(scratch_directory)
        program = unittest.main(exit=False, argv=[sys.argv[0], "HostLog.test_without_it", "HostLog.test_with_the_storage_manager"])
        for mounted in ("/dev", scratch_directory, "/opt"):
            subprocess.run(["umount", "-l", mounted], check=True)
    sys.exit(not program.result.wasSuccessful())
