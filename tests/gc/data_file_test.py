"""QCOW2 images whose data stands in another file: read and shown, left alone by every plan, and never a way out of the SR."""

import hashlib
import os
import subprocess
import unittest

from cli_support import CliTest, snapshot

SIZE = 1 << 20


def uuid(digit):
    return f"{str(digit) * 8}-1111-4111-8111-111111111111"


class DataFiles(CliTest):
    def qcow2(self, name, *commands, data_file=None, parent=None, options=()):
        """Made inside the SR, as QEMU takes a relative data file from its working directory."""
        options = [*options, *([f"data_file={data_file}"] if data_file else [])]
        argv = ["qemu-img", "create", "-q", "-f", "qcow2"]
        argv += ["-o", ",".join(options)] if options else []
        argv += ["-b", parent, "-F", "raw" if parent.endswith(".raw") else "qcow2"] if parent else []
        subprocess.run([*argv, name, str(SIZE)], cwd=self.sr, check=True)
        for command in commands:
            subprocess.run(["qemu-io", "-c", command, name], cwd=self.sr, check=True, capture_output=True)
        return os.path.join(self.sr, name)

    def hide(self, name):
        """Puts XCP-ng's hidden flag behind the other extensions."""
        with open(os.path.join(self.sr, name), "r+b") as file:
            head = bytearray(file.read(4096))
            at = int.from_bytes(head[100:104], "big")
            while any(head[at : at + 4]):
                at += 8 + (int.from_bytes(head[at + 4 : at + 8], "big") + 7) // 8 * 8
            name_at = int.from_bytes(head[8:16], "big")
            self.assertEqual(name_at, 0, "a root: no name is in the way")
            file.seek(at)
            file.write(bytes.fromhex("76617465 00000008 01") + bytes(15))

    def rename_data_file(self, path, old, new):
        with open(path, "r+b") as file:
            head = file.read(4096)
            extension = b"DATA" + len(old).to_bytes(4, "big")
            self.assertEqual((head.count(extension + old.encode()), len(old)), (1, len(new)))
            file.seek(0)
            file.write(head.replace(extension + old.encode(), extension + new.encode()))

    def expected(self, name):
        out = self.path("expected.raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", name, out], cwd=self.sr, check=True)
        with open(out, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def read(self, name):
        return self.coppice("read", os.path.join(self.sr, name), "--sha256").stdout.strip()

    def checked(self, path, status=0):
        return self.json("check", path, status=status)["images"][0]

    def test_marks_of_zeros_count_whatever_a_raw_file_holds(self):
        commands = ("write -P 1 0 256k", "write -z 64k 64k", "discard 128k 64k")
        for name, options in (("a.qcow2", ()), ("b.qcow2", ("data_file_raw=on",)), ("c.qcow2", ("extended_l2=on",))):
            self.qcow2(name, *commands, data_file=name + ".data", options=options)
            with open(self.path("sr", name + ".data"), "r+b") as file:
                file.write(b"x" * SIZE)
            self.assertEqual(self.read(name), self.expected(name), name)
            self.assertNotEqual(self.read(name), hashlib.sha256(b"x" * SIZE).hexdigest())
            image = self.checked(self.path("sr", name))
            self.assertEqual((image["verdict"], image["readable"], image["mergeable"], image["reason"]),
                             ("unsupported", True, False, "unsupported-feature"))
            self.assertEqual([finding["code"] for finding in image["findings"]], ["data-file"])

    def test_a_missing_data_file_is_named(self):
        path = self.qcow2("a.qcow2", "write -P 1 0 64k", data_file="ext.raw")
        child = self.qcow2("b.qcow2", parent="a.qcow2")
        os.remove(self.path("sr", "ext.raw"))
        for reader in (path, child):
            error = self.error("read", reader, "--sha256", status=3)
            self.assertEqual(error["code"], "unsupported-feature")
            self.assertIn("'ext.raw' does not exist", error["text"])
            image = self.checked(reader, status=3)
            self.assertEqual((image["verdict"], image["readable"]), ("unsupported", False))
            self.assertEqual(image["findings"][-1]["code"], "data-file-missing")

    def test_names_that_lead_out(self):
        """Each would give a secret away if it were followed."""
        with open(self.path("secret"), "wb") as file:
            file.write(b"s" * SIZE)
        os.mkdir(self.path("sr", "sub"))
        os.symlink(self.path("secret"), self.path("sr", "link"))
        os.link(self.path("secret"), self.path("sr", "sub", "secret"))
        os.mkfifo(self.path("sr", "fifo"))
        for name in ("../secret", "sub/../../secret", self.path("secret"), "/etc/passwd", "file:../secret", "file:link", "link",
                     "sub/secret", "nbd:localhost:1", 'json:{"driver":"file","filename":"link"}', "fifo", ".", "..", "me.qcow2"):
            with self.subTest(name):
                path = self.qcow2("me.qcow2", "write -P 1 0 64k", data_file="x" * len(name))
                self.rename_data_file(path, "x" * len(name), name)
                before = snapshot(self.directory)
                error = self.error("read", path, "--sha256", status=3)
                self.assertEqual(error["code"], "unsupported-feature")
                image = self.checked(path, status=3)
                self.assertEqual((image["verdict"], image["readable"]), ("unsupported", False))
                self.assertEqual(snapshot(self.directory), before)
                os.remove(path)
                os.remove(self.path("sr", "x" * len(name)))

    def test_a_name_into_the_sr_is_followed(self):
        inside = os.path.join(os.path.realpath(self.sr), "e")
        path = self.qcow2("me.qcow2", "write -P 1 0 64k", data_file="x" * len(inside))
        expected = self.expected("me.qcow2")
        self.rename_data_file(path, "x" * len(inside), inside)
        os.rename(self.path("sr", "x" * len(inside)), self.path("sr", "e"))
        self.assertEqual(self.read("me.qcow2"), expected)

    def tree(self):
        return {node["uuid"]: node for node in self.json("tree", self.sr)["nodes"]}

    def test_a_tree_around_one_is_shown_and_frozen(self):
        """A leaf over a hidden root, which would be merged if the data of the root stood in its own file."""
        self.qcow2(uuid(1) + ".qcow2", "write -P 1 0 256k", data_file="ext.raw")
        self.hide(uuid(1) + ".qcow2")
        self.qcow2(uuid(2) + ".qcow2", "write -P 2 0 64k", parent=uuid(1) + ".qcow2")
        expected = self.expected(uuid(2) + ".qcow2")
        before = snapshot(self.sr)
        node = self.tree()[uuid(1)]
        self.assertEqual((node["state"], node["reason"], node["hidden"]), ("damaged", "unsupported-feature", True))
        self.assertEqual((node["virtual_size"], node["allocated_size"]), (SIZE, 256 << 10))
        self.assertEqual(self.tree()[uuid(2)]["parent"], uuid(1))
        plan = self.json("plan", self.sr)
        self.assertEqual(plan["steps"], [])
        self.assertEqual({skip["vdi"]: skip["reason"] for skip in plan["skipped"]},
                         {uuid(1): "unsupported-feature", uuid(2): "unsupported-feature"})
        self.coppice("run", self.sr, "--once")
        self.assertEqual(self.json("coalesce", self.sr, "--leaf")["done"], [])
        self.assertEqual(snapshot(self.sr), before)
        self.assertEqual(self.read(uuid(2) + ".qcow2"), expected)

    def test_garbage_with_a_data_file_stays(self):
        self.qcow2(uuid(1) + ".qcow2", data_file="ext.raw")
        self.hide(uuid(1) + ".qcow2")
        before = snapshot(self.sr)
        self.assertEqual(self.json("collect", self.sr)["done"], [])
        self.coppice("run", self.sr, "--once")
        self.assertEqual(snapshot(self.sr), before)

    def test_an_image_that_serves_as_a_data_file_stays(self):
        """It would be garbage if nobody read its bytes."""
        self.qcow2(uuid(3) + ".qcow2", "write -P 3 0 64k")
        self.hide(uuid(3) + ".qcow2")
        self.assertEqual([step["vdi"] for step in self.json("plan", self.sr)["steps"]], [uuid(3)])
        name = uuid(3) + ".qcow2"
        path = self.qcow2(uuid(1) + ".qcow2", "write -P 1 0 64k", data_file="x" * len(name))
        self.rename_data_file(path, "x" * len(name), name)
        before = snapshot(self.sr)
        self.assertEqual(self.json("plan", self.sr)["steps"], [])
        self.coppice("run", self.sr, "--once")
        self.assertEqual(snapshot(self.sr), before)

    def test_a_raw_disk_as_a_data_file_stays(self):
        self.qcow2(uuid(1) + ".qcow2", "write -P 1 0 64k", data_file=uuid(4) + ".raw")
        self.hide(uuid(1) + ".qcow2")
        self.qcow2(uuid(5) + ".qcow2", "write -P 5 0 64k", parent=uuid(4) + ".raw")
        before = snapshot(self.sr)
        node = self.tree()[uuid(4)]
        self.assertEqual((node["format"], node["state"], node["hidden"]), ("raw", "ok", False))
        self.coppice("run", self.sr, "--once")
        self.assertEqual(self.json("coalesce", self.sr, "--leaf")["done"], [])
        self.assertEqual(snapshot(self.sr), before)

    def test_a_link_as_a_data_file_may_mean_any_image(self):
        self.qcow2(uuid(3) + ".qcow2")
        self.hide(uuid(3) + ".qcow2")
        path = self.qcow2(uuid(1) + ".qcow2", data_file="xxxx")
        self.rename_data_file(path, "xxxx", "link")
        os.symlink(uuid(3) + ".qcow2", self.path("sr", "link"))
        self.assertFalse(self.json("tree", self.sr)["complete"])
        self.assertEqual(self.json("plan", self.sr)["steps"], [])


if __name__ == "__main__":
    unittest.main()
