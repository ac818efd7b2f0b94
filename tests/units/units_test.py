"""The rules of the files in units/: systemd understands each line, each line has its reason, and the sandbox stays tight."""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest

UNITS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "units")
SERVICES = ("coppice@.service", "coppice-srs.service")
VOLUMES = "lvm.conf"  # added to coppice@.service where the SR is on LVM
FILES = (*SERVICES, "coppice.target", "SMGC@.service.d/coppice.conf", VOLUMES)
LARGEST_EXPOSURE = 2.5
# A collector as sm brings it; only with one does the drop-in mean anything.
STOCK = "[Service]\nType=oneshot\nExecStart=/bin/true -g -u %I\n"


def read(name):
    with open(os.path.join(UNITS, name), encoding="utf-8") as file:
        return file.read()


def directives(name):
    """(number of the line, key, value, the line above) of each directive."""
    lines = read(name).splitlines()
    for index, line in enumerate(lines):
        if line.strip() and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            yield index + 1, key, value, lines[index - 1]


def values(name, wanted):
    return [value for _, key, value, _ in directives(name) if key == wanted]


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


class Units(unittest.TestCase):
    def test_all_files_are_known(self):
        kinds = ("*.service", "*.target", "*.conf", "*.d/*")
        there = {os.path.relpath(path, UNITS) for kind in kinds for path in glob.glob(os.path.join(UNITS, kind))}
        self.assertEqual(there, set(FILES))

    def test_each_directive_has_its_reason(self):
        for name in FILES:
            for number, key, _, above in directives(name):
                self.assertRegex(above, r"^# .{10,}", f"{name}:{number}: {key}= has no reason in the line above it")

    def test_systemd_has_nothing_to_say(self):
        with tempfile.TemporaryDirectory() as directory:
            shutil.copytree(UNITS, directory, dirs_exist_ok=True)
            with open(os.path.join(directory, "SMGC@.service"), "w", encoding="utf-8") as file:
                file.write(STOCK)
            volumes = os.path.join(directory, "coppice@aaaaaaaa-0002-4000-8000-000000000000.service.d")
            os.mkdir(volumes)
            os.symlink(os.path.join(directory, VOLUMES), os.path.join(volumes, VOLUMES))
            for name in ("coppice.target", "coppice-srs.service", "coppice@aaaaaaaa-0001-4000-8000-000000000000.service",
                         "coppice@aaaaaaaa-0002-4000-8000-000000000000.service",
                         r"SMGC@aaaaaaaa\x2d0001\x2d4000\x2d8000\x2d000000000000.service"):
                unit = os.path.join(directory, re.sub(r"@.*\.", "@.", name))
                if unit != os.path.join(directory, name):
                    os.symlink(unit, os.path.join(directory, name))
                result = analyze("verify", os.path.join(directory, name))
                self.assertEqual((result.returncode, result.stdout + result.stderr), (0, ""), name)

    def test_the_sandbox_is_tight(self):
        for names in (*((name,) for name in SERVICES), ("coppice@.service", VOLUMES)):
            with tempfile.TemporaryDirectory() as directory:
                unit = os.path.join(directory, names[0])
                with open(unit, "w", encoding="utf-8") as file:
                    file.write("\n".join(read(name) for name in names))
                result = analyze("security", "--offline=true", "--no-pager", unit)
            exposure = re.search(r"Overall exposure level .*: ([0-9.]+) ", result.stdout)
            self.assertTrue(exposure, result.stdout + result.stderr)
            self.assertLessEqual(float(exposure[1]), LARGEST_EXPOSURE, f"{names}: {result.stdout}")

    def test_volumes_get_devices_and_hardly_more(self):
        self.assertEqual(values(VOLUMES, "DevicePolicy"), ["closed"])
        self.assertEqual(set(values(VOLUMES, "CapabilityBoundingSet")), {"CAP_SYS_ADMIN", "CAP_MKNOD"})
        for value in values(VOLUMES, "SystemCallFilter"):
            self.assertNotRegex(value, "[@~]", "an older systemd knows no groups, and the first list says what a list means")

    def test_what_is_needed_stays_possible(self):
        self.assertEqual(values("coppice@.service", "ProtectProc"), ["default"])
        capabilities = " ".join(values("coppice@.service", "CapabilityBoundingSet")).split()
        for capability in ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"):
            self.assertIn(capability, capabilities, "needed to see who has an image open")
        self.assertEqual(values("coppice@.service", "MountFlags"), ["slave"], "an SR that is mounted later must be seen")

    def test_an_older_systemd_does_not_misread_it(self):
        """219 takes a list of groups, which it does not know, for "no system call at all"; and removes a shared RuntimeDirectory=."""
        for name in SERVICES:
            for value in values(name, "SystemCallFilter"):
                self.assertTrue(value.startswith("~"), f"{name}: SystemCallFilter={value}")
            self.assertEqual(values(name, "RuntimeDirectory"), [])
            for value in values(name, "ExecStart"):
                self.assertTrue(value.startswith("/"), f"{name}: ExecStart={value}")

    def test_each_specifier_is_the_right_one(self):
        self.assertNotIn("%I", "".join(value for *_, value, _ in directives("coppice@.service")))
        for value in values("SMGC@.service.d/coppice.conf", "ExecStart")[1:]:
            self.assertIn("%I", value)
            self.assertNotIn("%i", value)
        self.assertEqual(values("SMGC@.service.d/coppice.conf", "ExecStart")[0], "", "the collector of sm must be forgotten first")

    def test_the_script_is_bash(self):
        result = subprocess.run(["bash", "-n", os.path.join(UNITS, "coppice-srs")], capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
