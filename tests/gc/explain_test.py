#!/usr/bin/python3
"""`explain` on the demo SR: the codes one by one, and the whole text as it was reviewed."""

import os
import re
import unittest

from cli_support import DATA, CliTest, make_demo

GOLDEN = os.path.join(DATA, "demo", "explain.txt")


class Demo(CliTest):
    def setUp(self):
        super().setUp()
        make_demo(self.sr)

    def codes(self):
        return {entry["vdi"][:13]: (entry["verdict"], entry["reason"]) for entry in self.json("explain", self.sr)["vdis"]}

    def test_every_vdi_has_a_verdict(self):
        nodes = {node["uuid"] for node in self.json("tree", self.sr)["nodes"]}
        explained = self.json("explain", self.sr)["vdis"]
        self.assertEqual({entry["vdi"] for entry in explained}, nodes)
        for entry in explained:
            self.assertTrue(entry["reason"] and entry["text"], entry)

    def test_codes(self):
        self.assertEqual(self.codes(), {
            # Two snapshots deleted: two levels between the root and the disk.
            "aaaaaaaa-0001": ("planned", "leaf-coalesce"),
            "aaaaaaaa-0002": ("planned", "leaf-coalesce"),
            "aaaaaaaa-0003": ("planned", "leaf-coalesce"),
            "aaaaaaaa-0004": ("planned", "leaf-coalesce"),
            # Two disks on one root; one of them has a level of its own.
            "bbbbbbbb-0001": ("nothing-to-do", "shared"),
            "bbbbbbbb-0002": ("nothing-to-do", "siblings"),
            "bbbbbbbb-0003": ("planned", "leaf-coalesce"),
            "bbbbbbbb-0004": ("planned", "leaf-coalesce"),
            "cccccccc-0001": ("planned", "leaf-coalesce"),
            "cccccccc-0002": ("planned", "leaf-coalesce"),
            "cccccccc-0003": ("planned", "leaf-coalesce"),
            "cccccccc-0004": ("planned", "collect"),
            "dddddddd-0001": ("planned", "leaf-coalesce"),
            "dddddddd-0002": ("planned", "leaf-coalesce"),
            "dddddddd-0003": ("planned", "leaf-coalesce"),
            # A damaged image and its parent.
            "eeeeeeee-0001": ("refused", "image-damaged"),
            "eeeeeeee-0002": ("refused", "image-damaged"),
        })

    def test_text(self):
        # How much a file takes of the disk is the file system's affair.
        text = re.sub(r"\b[0-9.]+ [KMGT]?i?B\b", "SIZE", self.coppice("explain", self.sr).stdout)
        if os.environ.get("COPPICE_UPDATE_GOLDEN"):
            with open(GOLDEN, "w", encoding="utf-8") as out:
                out.write(text)
        with open(GOLDEN, encoding="utf-8") as file:
            self.assertEqual(text, file.read())

    def test_one(self):
        """By a prefix, and what is not there."""
        self.assertEqual(self.json("explain", self.sr, "eeeeeeee-0002")["vdi"], "eeeeeeee-0002-4000-8000-000000000000")
        self.error("explain", self.sr, "ffffffff", status=5)

    def test_holders(self):
        disk = next(node["path"] for node in self.json("tree", self.sr)["nodes"] if node["uuid"].startswith("aaaaaaaa-0004"))
        with open(disk, "rb"):
            for vdi in ("aaaaaaaa-0001", "aaaaaaaa-0004"):
                entry = self.json("explain", self.sr, vdi)
                self.assertEqual((entry["verdict"], entry["reason"]), ("waiting", "attached"))
                self.assertEqual([holder["pid"] for holder in entry["holders"] if holder["kind"] == "process"], [os.getpid()])
                self.assertTrue(entry["unblocks"])
        self.assertEqual(self.json("explain", self.sr, "aaaaaaaa-0004")["verdict"], "planned")


if __name__ == "__main__":
    unittest.main()
