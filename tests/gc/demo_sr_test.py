"""The verbs on the demo SR: golden output, nothing written where nothing may be, and disks that stay the same."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import xml.dom.minidom

from cli_support import BINARY, DATA, CliTest, foreign_readers_there, hashes, make_demo, snapshot

TEMPLATE = None


def setUpModule():
    global TEMPLATE
    if not foreign_readers_there():
        raise unittest.SkipTest("qemu-img or libvhdi is not installed")
    TEMPLATE = tempfile.mkdtemp(prefix="coppice-demo-")
    make_demo(TEMPLATE)


def tearDownModule():
    if TEMPLATE:
        shutil.rmtree(TEMPLATE)


def vdi(tree, node):
    return f"{tree * 8}-{node:04d}-4000-8000-000000000000"


class DemoTest(CliTest):
    def setUp(self):
        super().setUp()
        os.rmdir(self.sr)
        shutil.copytree(TEMPLATE, self.sr)

    def golden(self, name, text):
        """Without what depends on where the test runs: the place, and how much of a file its file system stores."""
        text = text.replace(os.path.realpath(self.sr), "SR")
        text = re.sub(r"^(.*  (?:vhd|qcow2) +[\d.]+ \w{0,2}B) +[\d.]+ \w{0,2}B", r"\1", text, flags=re.MULTILINE)
        text = re.sub(r", [\d.]+ \w{0,2}B physical|\n *\"physical_size\": \d+,", "", text)
        path = os.path.join(DATA, "cli", name)
        if os.environ.get("COPPICE_WRITE_GOLDEN"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(text, file.read(), f"{name}: if the new output is right, run with COPPICE_WRITE_GOLDEN=1")

    def uuids(self):
        return {os.path.splitext(name)[0] for name in os.listdir(self.sr)}


class Looking(DemoTest):
    def test_tree(self):
        self.golden("tree.txt", self.coppice("tree", self.sr).stdout)
        self.golden("tree.dot", self.coppice("tree", self.sr, "--format", "dot").stdout)
        self.golden("tree.json", self.coppice("tree", self.sr, "--json").stdout)
        self.assertEqual(self.coppice("tree", self.sr, "--format", "json").stdout, self.coppice("tree", self.sr, "--json").stdout)

    def test_svg_is_one_self_contained_picture(self):
        svg = self.coppice("tree", self.sr, "--format", "svg").stdout
        document = xml.dom.minidom.parseString(svg)
        self.assertEqual(document.documentElement.tagName, "svg")
        self.assertEqual(svg.count('class="uuid"'), len(os.listdir(self.sr)))
        self.assertNotRegex(svg, r"(href|src|url\()")

    def test_color(self):
        self.assertNotIn("\x1b", self.coppice("tree", self.sr).stdout)
        self.assertIn("\x1b", self.coppice("tree", self.sr, "--color", "always").stdout)
        self.assertNotIn("\x1b", self.coppice("tree", self.sr, "--color", "never").stdout)

    def test_plan(self):
        document = self.json("plan", self.sr)
        self.assertTrue(document["steps"])
        for step in document["steps"]:
            self.assertLessEqual({"op", "vdi", "into", "direction", "copy_bytes", "space_needed", "space_freed", "pause_ms", "mode"},
                                 set(step))
            self.assertIn(step["op"], ("collect", "coalesce", "leaf-coalesce"))
        self.assertIn(vdi("c", 4), [step["vdi"] for step in document["steps"] if step["op"] == "collect"])
        self.assertIn("image-damaged", {entry["reason"] for entry in document["skipped"]})
        self.assertTrue(self.coppice("plan", self.sr).stdout)

    def test_nothing_is_written(self):
        before = snapshot(self.directory)
        for command in (["tree"], ["tree", "--json"], ["plan"], ["plan", "--json"], ["run", "--once", "--dry-run"],
                        ["coalesce", "--leaf", "--dry-run"], ["collect", "--dry-run"], ["collect", "--dry-run", "--json"]):
            self.coppice(command[0], self.sr, *command[1:])
            self.assertEqual(snapshot(self.directory), before, command)
        self.coppice("check", self.sr, status=3)
        self.coppice("read", os.path.join(self.sr, vdi("a", 4) + ".vhd"), "--sha256")
        self.assertEqual(snapshot(self.directory), before)

    def test_dry_run_tells_the_plan(self):
        plan = self.json("plan", self.sr)
        dry = self.json("run", self.sr, "--once", "--dry-run")
        self.assertEqual(dry["steps"], plan["steps"])
        self.assertEqual((dry["done"], dry["failed"]), ([], []))

    def test_check_an_sr(self):
        document = self.json("check", self.sr, status=3)
        verdicts = {os.path.basename(image["path"])[:13]: image["verdict"] for image in document["images"]}
        self.assertEqual(len(verdicts), len(os.listdir(self.sr)))
        self.assertNotEqual(verdicts.pop("eeeeeeee-0002"), "ok")
        self.assertEqual(set(verdicts.values()), {"ok"})
        paths = [image["path"] for image in document["images"]]
        self.assertEqual(paths, sorted(paths))

    def test_read_agrees_with_foreign_readers(self):
        expected = hashes(self.sr)
        del expected[vdi("e", 2)]
        for uuid, hash_by_others in expected.items():
            path = next(os.path.join(self.sr, name) for name in os.listdir(self.sr) if name.startswith(uuid))
            self.assertEqual(self.coppice("read", path, "--sha256").stdout, hash_by_others + "\n")


class Working(DemoTest):
    def test_run_once(self):
        before = hashes(self.sr)
        document = self.json("run", self.sr, "--once")
        self.assertEqual(document["failed"], [])
        for step in document["done"]:
            self.assertLessEqual({"op", "vdi", "into", "seconds", "copied_bytes", "shared_bytes", "resumed"}, set(step))
        self.assertEqual(hashes(self.sr), before)
        self.assertEqual(self.uuids(), {vdi("a", 4), vdi("b", 1), vdi("b", 2), vdi("b", 4), vdi("c", 3), vdi("d", 3), vdi("e", 1),
                                        vdi("e", 2)})
        self.assertEqual(self.json("run", self.sr, "--once")["done"], [])
        self.golden("tree_after_run.txt", self.coppice("tree", self.sr).stdout)
        checked = self.json("check", self.sr, status=3)["images"]
        self.assertEqual({image["verdict"] for image in checked if "eeeeeeee-0002" not in image["path"]}, {"ok"})

    def test_collect_deletes_garbage_only(self):
        before = self.uuids()
        document = self.json("collect", self.sr)
        self.assertEqual([step["op"] for step in document["done"]], ["collect"])
        self.assertEqual(before - self.uuids(), {vdi("c", 4)})

    def test_coalesce_one_vdi(self):
        before, disks = self.uuids(), hashes(self.sr)
        # Its parent has another child, and its own child is a leaf.
        self.coppice("coalesce", self.sr, vdi("b", 3), "--verify", status=4)
        self.coppice("coalesce", self.sr, vdi("b", 3), "--verify", "--leaf")
        self.assertEqual(before - self.uuids(), {vdi("b", 3)})
        self.assertEqual(hashes(self.sr), disks)

    def test_leaves_are_left_without_leaf(self):
        disks = hashes(self.sr)
        self.coppice("coalesce", self.sr, vdi("a", 2))
        document = self.json("tree", self.sr)
        self.assertEqual(len([node for node in document["nodes"] if node["uuid"].startswith("aaaa")]), 2)
        self.coppice("coalesce", self.sr, vdi("a", 4), "--leaf")
        self.assertEqual({uuid for uuid in self.uuids() if uuid.startswith("aaaa")}, {vdi("a", 4)})
        self.assertEqual(hashes(self.sr), disks)

    def test_either_direction(self):
        for direction in ("down", "up"):
            disks = hashes(self.sr)
            document = self.json("coalesce", self.sr, vdi("cd"[direction == "up"], 2), "--leaf", "--direction", direction)
            self.assertEqual({step["direction"] for step in document["done"] if step["op"] != "collect"}, {direction})
            self.assertEqual(hashes(self.sr), disks)

    def test_a_vdi_that_is_refused(self):
        result = self.coppice("coalesce", self.sr, vdi("e", 2), "--leaf", "--json", status=4)
        document = json.loads(result.stdout)
        self.assertEqual((document["done"], document["error"]["code"]), ([], "image-damaged"))
        self.assertIn("image-damaged", result.stderr)

    def test_a_tree_in_use_is_left_alone(self):
        leaf = os.path.join(self.sr, vdi("d", 3) + ".qcow2")
        guest = subprocess.Popen(["qemu-io", "--format=qcow2", leaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            # It asks for a command when it has the image.
            self.assertEqual(guest.stdout.read(8), b"qemu-io>")
            node = next(node for node in self.json("tree", self.sr)["nodes"] if node["uuid"] == vdi("d", 3))
            self.assertIn(guest.pid, [opener["pid"] for opener in node["openers"]])
            document = self.json("run", self.sr, "--once")
            self.assertLessEqual({vdi("d", 1), vdi("d", 2), vdi("d", 3)}, self.uuids())
            self.assertIn("attached", {entry["reason"] for entry in document["skipped"]})
            self.coppice("coalesce", self.sr, vdi("d", 2), "--leaf", status=6)
        finally:
            guest.kill()
            guest.communicate()
        self.coppice("run", self.sr, "--once")
        self.assertNotIn(vdi("d", 2), self.uuids())

    def test_a_stop_is_quick_and_safe(self):
        disks = hashes(self.sr)
        directories = ["--state-dir", self.path("state"), "--run-dir", self.path("run")]
        for verb in (["run", self.sr, "--once"], ["coalesce", self.sr, "--leaf"]):
            first = subprocess.Popen([BINARY, *verb, "--rate", "64K", *directories], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     text=True)
            try:
                # The lock is held from the first step on.
                while "leaf-coalesce" not in first.stderr.readline():
                    self.assertIsNone(first.poll())
                second = self.error("run", self.sr, "--once", status=6)
                self.assertIn(str(first.pid), second["text"])
                self.coppice("tree", self.sr)
                first.terminate()
                self.assertEqual(first.wait(60), 6)
            finally:
                first.kill()
                first.communicate()
            self.assertEqual(hashes(self.sr), disks)
        self.coppice("run", self.sr, "--once")
        self.assertEqual(hashes(self.sr), disks)
        self.assertEqual(len([uuid for uuid in self.uuids() if uuid.startswith("aaaa")]), 1)

    def test_directories_that_cannot_be_used(self):
        with open(self.path("file"), "w", encoding="utf-8"):
            pass
        before = snapshot(self.sr)
        for option in ("--state-dir", "--run-dir"):
            error = self.error("run", self.sr, "--once", option, self.path("file", "below"), status=1)
            self.assertIn("file", error["text"])
            self.assertEqual(snapshot(self.sr), before)
        # Looking needs neither.
        self.coppice("plan", self.sr, "--state-dir", self.path("file", "below"), "--run-dir", self.path("file", "below"))

    def test_other_files_are_left_alone(self):
        for name in ("notes.txt", "filelog.txt", "x.vhd.bak", "lost+found.vhd", "8b3c.iso"):
            with open(os.path.join(self.sr, name), "w", encoding="utf-8") as file:
                file.write("keep me")
        os.mkdir(os.path.join(self.sr, "directory"))
        self.coppice("run", self.sr, "--once")
        for name in ("notes.txt", "filelog.txt", "x.vhd.bak", "lost+found.vhd", "8b3c.iso"):
            with open(os.path.join(self.sr, name), encoding="utf-8") as file:
                self.assertEqual(file.read(), "keep me")
        self.assertTrue(os.path.isdir(os.path.join(self.sr, "directory")))

    def test_progress_is_not_on_standard_output(self):
        result = self.coppice("run", self.sr, "--once", "--json")
        json.loads(result.stdout)
        self.assertIn("step 1 of ", result.stderr)
        self.assertNotIn("\x1b", result.stderr)


if __name__ == "__main__":
    unittest.main()
