#!/usr/bin/python3
"""A journal that cannot be used: told clearly, nothing changed, and the next run on a healthy one does the work."""

import contextlib
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
        self.last_error = error

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

    def set_aside_as(self, cause, word):
        """The journal as it is gets the name of `cause`, which the error tells; the next run does the work."""
        self.refused(word)
        aside = glob.glob(self.journal + f".{cause}-*Z")
        self.assertEqual(len(aside), 1)
        self.assertFalse(os.path.exists(self.journal))
        self.assertIn(aside[0], self.last_error["text"])
        self.finishes()
        self.assertTrue(os.path.exists(aside[0]))
        return aside[0]

    def execute(self, statement, journal=None):
        with contextlib.closing(sqlite3.connect(journal or self.journal, isolation_level=None)) as database:
            return database.execute(statement).fetchone()

    def make_it_that_of_another_sr(self):
        self.execute("UPDATE identity SET sr = 'another'")
        self.assertEqual(self.execute("SELECT sr FROM identity"), ("another",))

    def test_a_newer_one_is_set_aside(self):
        newer = self.execute("PRAGMA user_version")[0] + 1
        self.execute(f"PRAGMA user_version = {newer}")
        aside = self.set_aside_as("newer", "knows versions up to")
        self.assertEqual(self.execute("PRAGMA user_version", aside), (newer,))

    def test_that_of_another_sr_is_set_aside(self):
        self.make_it_that_of_another_sr()
        self.set_aside_as("foreign", "is the journal of SR another")

    def test_that_of_another_sr_is_not_believed_by_a_look(self):
        self.make_it_that_of_another_sr()
        before = snapshot(os.path.dirname(self.journal))
        self.assertIn("is the journal of SR another", self.coppice("tree", self.sr).stderr)
        self.assertEqual(snapshot(os.path.dirname(self.journal)), before)


if __name__ == "__main__":
    unittest.main()
