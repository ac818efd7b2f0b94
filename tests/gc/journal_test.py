#!/usr/bin/python3
"""A journal that cannot be used: told clearly, nothing changed, and the next run on a healthy one does the work."""

import glob
import os
import sqlite3
import unittest

from cli_support import CliTest, hashes, make_demo, snapshot


class UnusableJournal(CliTest):
    def setUp(self):
        super().setUp()
        make_demo(self.sr)
        self.before = hashes(self.sr)
        # A run that may not touch anything makes the journal and leaves all work to do.
        self.coppice("coalesce", self.sr, "aaaaaaaa-0004", status=None)
        self.journal = glob.glob(self.path("state", "*", "journal.db"))[0]

    def damage(self, content):
        for leftover in glob.glob(self.journal + "-*"):
            os.remove(leftover)
        with open(self.journal, "wb") as out:
            out.write(content)

    def refused(self, word):
        images = snapshot(self.sr)
        error = self.error("run", self.sr, "--once", status=1)
        self.assertIn(word, error["text"])
        self.assertIn("journal.db", error["text"])
        self.assertEqual(snapshot(self.sr), images)

    def finishes(self):
        self.assertGreater(len(self.json("run", self.sr, "--once")["done"]), 0)
        after = hashes(self.sr)
        self.assertEqual({uuid: after[uuid] for uuid in self.before}, self.before)

    def test_a_damaged_one_is_set_aside(self):
        with open(self.journal, "rb") as file:
            good = file.read()
        for content in (b"", b"this is not a database, only text. " * 200, good[: len(good) // 2]):
            with self.subTest(length=len(content)):
                self.damage(content)
                self.refused("set aside")
                aside = max(glob.glob(self.journal + ".damaged-*Z"), key=os.path.getctime)
                with open(aside, "rb") as file:
                    self.assertEqual(file.read(), content)
                os.remove(aside)
        self.finishes()

    def test_a_newer_one_stays(self):
        with sqlite3.connect(self.journal) as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            database.execute(f"PRAGMA user_version = {version + 1}")
        self.refused("knows versions up to")
        self.assertTrue(os.path.exists(self.journal))
        with sqlite3.connect(self.journal) as database:
            database.execute(f"PRAGMA user_version = {version}")
        self.finishes()


if __name__ == "__main__":
    unittest.main()
