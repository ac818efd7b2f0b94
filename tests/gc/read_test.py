"""read and check on files: what may be followed, what is left behind, and what is said of doubtful content."""

import hashlib
import os
import subprocess
import sys
import unittest

from cli_support import DEMO, CliTest, snapshot

sys.path.insert(0, DEMO)
from make_vhd import Vhd  # noqa: E402

MIB = 1 << 20


class Reading(CliTest):
    def vhd(self, path, parent=None, stored=None, seed=1, size=8 * MIB):
        """`stored`: how the child names its parent, if not by its bare name."""
        disk = Vhd(size, parent, seed=seed)
        disk.write(MIB * (seed % 4), 64 << 10)
        if stored:
            name = stored.replace("/", "\\").encode("utf-16-le")
            disk.locators = lambda: [(b"MacX", f"file://{stored}".encode()), (b"W2ku", name), (b"W2ru", name)]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        disk.save(path)
        return disk

    def expected(self, *disks):
        content = bytearray(disks[0].size)
        for disk in reversed(disks):
            for number, (bitmap, data) in disk.blocks.items():
                for sector in range(4096):
                    if bitmap[sector // 8] & 0x80 >> sector % 8:
                        place = number * 2 * MIB + sector * 512
                        content[place : place + 512] = data[sector * 512 : (sector + 1) * 512]
        return bytes(content)

    def test_three_ways_to_the_same_bytes(self):
        parent = self.vhd(self.path("sr", "base.vhd"))
        child = self.vhd(self.path("sr", "leaf.vhd"), self.path("sr", "base.vhd"), seed=2)
        expected = self.expected(child, parent)
        leaf = self.path("sr", "leaf.vhd")
        self.assertEqual(self.coppice("read", leaf, text=False).stdout, expected)
        self.assertEqual(self.coppice("read", leaf, "--sha256").stdout, hashlib.sha256(expected).hexdigest() + "\n")
        self.coppice("read", leaf, "--output", self.path("out.raw"))
        with open(self.path("out.raw"), "rb") as file:
            self.assertEqual(file.read(), expected)
        self.assertLess(os.stat(self.path("out.raw")).st_blocks * 512, MIB)
        document = self.json("read", leaf, "--sha256")
        self.assertEqual((document["sha256"], document["doubtful"]), (hashlib.sha256(expected).hexdigest(), False))

    def test_parents_in_other_directories_below_the_root(self):
        parent = self.vhd(self.path("sr", "store", "base.vhd"))
        leaf = self.path("sr", "work", "deep", "leaf.vhd")
        child = self.vhd(leaf, self.path("sr", "store", "base.vhd"), "./../../store/base.vhd", seed=2)
        expected = hashlib.sha256(self.expected(child, parent)).hexdigest() + "\n"
        self.assertEqual(self.coppice("read", leaf, "--sha256", "--root", self.sr).stdout, expected)
        # Without a root above both, the name leads out.
        self.error("read", leaf, "--sha256", status=3)
        image = self.json("check", leaf, status=3)["images"][0]
        self.assertEqual((image["verdict"], image["readable"]), ("unsupported", False))
        self.assertEqual(self.json("check", leaf, "--root", self.sr)["images"][0]["verdict"], "ok")

    def test_names_that_lead_out(self):
        self.vhd(self.path("secret.vhd"))
        for index, name in enumerate(("../secret.vhd", self.path("secret.vhd"), "sub/../../secret.vhd", "//secret.vhd")):
            leaf = self.path("sr", f"leaf{index}.vhd")
            self.vhd(leaf, self.path("secret.vhd"), name, seed=2)
            # The header names the bare file, which is not there: the locators are all that a reader could follow.
            error = self.error("read", leaf, "--sha256", status=3)
            self.assertIn(error["code"], ("unsupported-feature", "parent-missing"), name)

    def test_links_are_not_followed(self):
        self.vhd(self.path("secret.vhd"))
        os.symlink(self.path("secret.vhd"), self.path("sr", "secret.vhd"))
        leaf = self.path("sr", "leaf.vhd")
        self.vhd(leaf, self.path("secret.vhd"), seed=2)
        self.assertIn("symbolic link", self.error("read", leaf, "--sha256", status=3)["text"])
        os.mkdir(self.path("outside"))
        os.rename(self.path("secret.vhd"), self.path("outside", "secret.vhd"))
        os.symlink(self.path("outside"), self.path("sr", "sub"))
        leaf = self.path("sr", "leaf2.vhd")
        self.vhd(leaf, self.path("outside", "secret.vhd"), "sub/secret.vhd", seed=2)
        os.remove(self.path("sr", "secret.vhd"))
        self.assertIn("symbolic link", self.error("read", leaf, "--sha256", status=3)["text"])

    def test_circles_end(self):
        a, b = self.path("sr", "a.vhd"), self.path("sr", "b.vhd")
        self.vhd(b)
        self.vhd(a, b)
        os.remove(b)
        self.vhd(b, a)
        self.assertEqual(self.error("read", a, "--sha256", status=3)["code"], "chain-cycle")
        image = self.json("check", a, status=3)["images"][0]
        self.assertEqual((image["verdict"], image["reason"], image["readable"]), ("corrupt", "chain-cycle", False))

    def test_another_parent_makes_content_doubtful(self):
        base = self.path("sr", "base.vhd")
        self.vhd(base)
        child = self.vhd(self.path("sr", "leaf.vhd"), base, seed=2)
        os.remove(base)
        parent = self.vhd(base, seed=3)
        result = self.coppice("read", self.path("sr", "leaf.vhd"), "--sha256", status=3)
        self.assertEqual(result.stdout, hashlib.sha256(self.expected(child, parent)).hexdigest() + "\n")
        self.assertIn("doubtful", result.stderr)
        image = self.json("check", self.path("sr", "leaf.vhd"), status=3)["images"][0]
        self.assertEqual(image["verdict"], "corrupt")
        self.assertIn("parent-uuid-mismatch", [finding["code"] for finding in image["findings"]])

    def test_nothing_is_left_of_what_cannot_be_read(self):
        base, leaf = self.path("sr", "base.vhd"), self.path("sr", "leaf.vhd")
        self.vhd(base)
        self.vhd(leaf, base, seed=2)
        os.remove(base)
        before = snapshot(self.directory)
        self.assertEqual(self.error("read", leaf, "--output", self.path("out.raw"), status=3)["code"], "parent-missing")
        self.assertEqual(snapshot(self.directory), before)
        self.assertEqual(self.json("check", leaf, status=3)["images"][0]["reason"], "parent-missing")

    def test_output_never_replaces_content(self):
        disk = self.vhd(self.path("sr", "base.vhd"))
        with open(self.path("out.raw"), "wb") as file:
            file.write(b"mine")
        self.coppice("read", self.path("sr", "base.vhd"), "--output", self.path("out.raw"), status=1)
        with open(self.path("out.raw"), "rb") as file:
            self.assertEqual(file.read(), b"mine")
        os.truncate(self.path("out.raw"), 0)
        self.coppice("read", self.path("sr", "base.vhd"), "--output", self.path("out.raw"))
        with open(self.path("out.raw"), "rb") as file:
            self.assertEqual(file.read(), self.expected(disk))

    def test_usage(self):
        self.vhd(self.path("sr", "base.vhd"))
        base = self.path("sr", "base.vhd")
        self.error("read", base, status=2)  # --json without --sha256: standard output would be both
        self.error("read", base, "--sha256", "--output", self.path("x"), status=2)
        self.error("read", self.path("sr"), "--sha256", status=2)
        self.error("read", self.path("nothing.vhd"), "--sha256", status=5)
        self.error("check", self.path("nothing.vhd"), status=5)
        self.error("read", base, "--sha256", "--root", self.path("nowhere"), status=5)
        os.mkdir(self.path("other"))
        self.error("read", base, "--sha256", "--root", self.path("other"), status=4)
        os.rename(base, self.path("sr", "base.img"))
        self.error("read", self.path("sr", "base.img"), "--sha256", status=2)

    def test_an_enormous_empty_disk(self):
        path = self.path("sr", "big.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", path, "8T"], check=True)
        self.coppice("read", path, "--output", self.path("big.raw"))
        self.assertEqual(os.stat(self.path("big.raw")).st_size, 8 << 40)
        # Hashing it would take an hour; it must be possible to stop that.
        from cli_support import BINARY
        process = subprocess.Popen([BINARY, "read", path, "--sha256"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            with self.assertRaises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.terminate()
            self.assertEqual(process.wait(10), 6)
        finally:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    unittest.main()
