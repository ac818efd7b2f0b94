#!/usr/bin/python3
"""What the program says when the file system of its journal is full. Needs root, for a small file system in memory."""

import os
import subprocess
import unittest

from service_support import ServiceTest


class FullState(ServiceTest):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("state"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600K", "none", self.path("state")], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.path("state")], check=True)

    def fill(self):
        with open(self.path("state", "fill"), "ab", buffering=0) as file:
            while True:
                try:
                    file.write(bytes(512))
                except OSError:
                    return

    def say(self):
        for verb in (("pause", self.sr), ("pause", self.sr, "--reason", "x" * 3000)):
            error = self.error(*verb, status=7)
            self.assertEqual(error["code"], "no-space")
            self.assertIn("journal.db", error["text"])

    def test_from_the_beginning(self):
        self.fill()
        self.say()

    def test_later(self):
        self.json("resume", self.sr)
        self.fill()
        self.say()
        os.remove(self.path("state", "fill"))
        self.assertTrue(self.json("pause", self.sr)["paused"])

    def test_of_a_service(self):
        self.fill()
        self.service()
        self.say()
        os.remove(self.path("state", "fill"))
        self.assertTrue(self.json("pause", self.sr)["paused"])


if __name__ == "__main__":
    unittest.main()
