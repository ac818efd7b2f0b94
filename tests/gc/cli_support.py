"""Runs the program for tests, and looks at what it leaves behind."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BINARY = os.environ.get("COPPICE_BINARY", os.path.join(SOURCE, "build/dev/gc/coppice"))
DATA = os.path.join(SOURCE, "tests", "data")
DEMO = os.path.join(SOURCE, "docs", "demo")


def snapshot(directory):
    """Everything below a directory that writing would change."""
    found = {}
    for parent, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            found[os.path.relpath(path, directory)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns,
                                                       status.st_ctime_ns)
    return found


class CliTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="coppice-cli-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.sr = self.path("sr")
        os.mkdir(self.sr)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def coppice(self, *arguments, status=0, environment=None, text=True):
        # Directories of our own, unless the test names others.
        command = [BINARY, *arguments]
        if arguments and not arguments[0].startswith("-"):
            for option, name in (("--state-dir", "state"), ("--run-dir", "run")):
                command += [] if option in arguments else [option, self.path(name)]
        clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
        result = subprocess.run(command, capture_output=True, text=text, timeout=120, stdin=subprocess.DEVNULL,
                                env={**clean, **(environment or {})}, check=False)
        if status is not None:
            self.assertEqual(result.returncode, status, f"{command}\nstdout: {result.stdout}\nstderr: {result.stderr}")
        return result

    def json(self, *arguments, status=0):
        result = self.coppice(*arguments, "--json", status=status)
        document = json.loads(result.stdout)
        self.assertEqual(document["schema"], 1)
        return document

    def error(self, *arguments, status):
        """The error object; the text must stand on standard error as well."""
        result = self.coppice(*arguments, "--json", status=status)
        error = json.loads(result.stdout)["error"]
        self.assertIn(error["text"], result.stderr)
        return error


def make_demo(directory):
    subprocess.run([sys.executable, os.path.join(DEMO, "make_sr.py"), directory], check=True)


def hashes(directory):
    """UUID -> hash of each visible disk, by foreign readers."""
    out = subprocess.run(["/usr/bin/python3", os.path.join(DEMO, "hash_disks.py"), directory], check=True, capture_output=True,
                         text=True).stdout
    return {line.split()[0]: line.split()[1] for line in out.splitlines()}


def foreign_readers_there():
    try:
        import pyvhdi  # noqa: F401
    except ImportError:
        return False
    return shutil.which("qemu-img") is not None
