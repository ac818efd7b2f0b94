"""What the program answers to command lines that make no sense, and to names that fit nothing or too much."""

import json
import os
import unittest

from cli_support import CliTest, snapshot

VERBS = ("run", "tree", "plan", "coalesce", "collect", "status", "explain", "history", "pause", "resume", "hold", "release", "kick",
         "metrics", "check", "read")
LATER = ("doctor", "metadata", "journal", "report")


class Usage(CliTest):
    def test_no_verb(self):
        self.assertIn("verb", self.coppice(status=2).stderr)

    def test_unknown_verbs(self):
        for verb in ("prune", "co", "trees", "", *LATER):
            self.assertEqual(self.error(verb, self.sr, status=2)["code"], "usage", verb)

    def test_unknown_options(self):
        for verb in VERBS:
            self.error(verb, self.sr, "--frobnicate", status=2)
            self.error(verb, self.sr, "--color", "pink", status=2)

    def test_options_are_not_abbreviated(self):
        for verb, option in (("run", "--dry"), ("collect", "--dry-ru"), ("tree", "--form=svg"), ("plan", "--js"), ("coalesce", "--ver")):
            self.coppice(verb, self.sr, option, status=2)

    def test_missing_and_surplus_arguments(self):
        for verb in VERBS:
            if verb != "status":  # of all services
                self.error(verb, status=2)
        for verb in ("run", "tree", "plan", "status", "history", "pause", "resume", "kick", "metrics"):
            self.error(verb, self.sr, self.sr, status=2)
        for verb in ("hold", "release"):
            self.error(verb, self.sr, status=2)
            self.error(verb, self.sr, "a", "b", status=2)
        self.error("explain", self.sr, "a", "b", status=2)
        self.error("read", "a.vhd", "b.vhd", status=2)

    def test_values(self):
        self.error("tree", self.sr, "--format", "png", status=2)
        self.error("coalesce", self.sr, "--direction", "sideways", status=2)
        for rate in ("", "0", "fast", "10X", "-1", "999999999999T"):
            self.error("coalesce", self.sr, f"--rate={rate}", status=2)

    def test_xapi(self):
        self.coppice("tree", self.sr, "--xapi", "none")
        self.assertEqual(self.error("tree", self.sr, "--xapi", "https://host", status=8)["code"], "xapi-unreachable")

    def test_values_of_the_service(self):
        for option in ("--idle=0", "--idle=soon", "--rate=0", "--window=noon", "--window=25:00-26:00", "--danger-depth=1",
                       "--jobs=0", "--jobs=65", "--jobs=-1", "--jobs=all"):
            self.error("run", self.sr, option, status=2)
        for option in ("--idle=5", "--window=22:00-06:00", "--danger-depth=9"):
            self.assertIn("--once", self.error("run", self.sr, "--once", option, status=2)["text"])
        self.assertIn("--once", self.error("run", self.sr, "--dry-run", status=2)["text"])
        for verb, option in (("pause", "--for=0"), ("pause", "--for=ever"), ("history", "--since=once"), ("history", "--limit=all"),
                             ("history", "--limit=-1"), ("history", "--limit= 1"), ("history", "--limit=99999999999999999999")):
            self.error(verb, self.sr, option, status=2)
        self.error("release", self.sr, "first", status=2)
        self.error("hold", self.sr, "12345678", status=5)

    def test_jobs(self):
        for jobs in ("1", "2", "64"):
            self.json("run", self.sr, "--once", "--jobs", jobs)
        self.error("run", self.sr, "--once", "--jobs", "65", status=2)

    def test_online_is_said_to_be_missing(self):
        for option in ((), ("--dry-run",)):
            error = self.error("coalesce", self.sr, "--online", *option, status=4)
            self.assertEqual(error["code"], "unsupported-feature")
            self.assertIn("--online", error["text"])

    def test_dry_run_of_pauses_and_holds(self):
        with open(os.path.join(self.sr, "77777777-0001-4000-8000-000000000000.raw"), "wb") as file:
            file.write(bytes(1 << 20))
        before = snapshot(self.directory)
        self.assertTrue(self.json("pause", self.sr, "--for", "2h", "--dry-run")["dry_run"])
        hold = self.json("hold", self.sr, "77777777", "--reason", "why", "--dry-run")
        self.assertEqual((hold["dry_run"], hold["hold"]["id"], hold["hold"]["reason"]), (True, None, "why"))
        self.assertFalse(self.json("resume", self.sr, "--dry-run")["paused"])
        self.error("release", self.sr, "1", "--dry-run", status=5)
        self.assertEqual(snapshot(self.directory), before)
        # With a journal: it is asked, and stays as it is.
        self.json("hold", self.sr, "77777777")
        self.json("pause", self.sr)
        before = self.json("status", self.sr), self.json("history", self.sr)
        self.assertEqual(self.json("release", self.sr, "1", "--dry-run")["released"], 1)
        self.error("release", self.sr, "2", "--dry-run", status=5)
        self.assertIn("nothing is changed", self.coppice("resume", self.sr, "--dry-run").stdout)
        self.assertEqual((self.json("status", self.sr), self.json("history", self.sr)), before)

    def test_help(self):
        out = self.coppice("--help").stdout
        for verb in VERBS:
            self.assertIn(f"\n  {verb} ", out)
            self.assertIn(f"usage: coppice {verb} ", self.coppice(verb, "--help").stdout)
        self.assertTrue(self.coppice("--version").stdout.startswith("coppice "))

    def test_what_others_wrote_commands_no_terminal(self):
        reason = "x\x1b[2Jy\nz\x9b31m"
        self.coppice("pause", self.sr, "--reason", reason)
        with open(os.path.join(self.sr, "77777777-0001-4000-8000-000000000000.raw"), "wb") as file:
            file.write(bytes(1 << 20))
        self.coppice("hold", self.sr, "77777777", "--reason", reason)
        for verb in (("plan",), ("status",), ("explain",), ("history",), ("metrics",), ("tree",), ("run", "--once"), ("collect", "--dry-run"),
                     ("coalesce", "77777777", "-v", "-v"), ("pause", "--dry-run", "--reason", reason)):
            with self.subTest(verb=verb):
                result = self.coppice(verb[0], self.sr, *verb[1:], status=None)
                for text in (result.stdout, result.stderr):
                    self.assertFalse([c for c in text if c in "\x1b\x9b"], text)
                    self.assertFalse([line for line in text.splitlines() if line.startswith("z")], text)
        self.assertNotIn("\x1b", self.coppice("tree", self.path("no\x1b[31m"), status=5).stderr)
        self.assertEqual(self.json("status", self.sr)["holds"][0]["reason"], reason)

    def test_errors_are_text_without_json(self):
        result = self.coppice("tree", self.path("nowhere"), status=5)
        self.assertEqual(result.stdout, "")
        self.assertIn("nowhere", result.stderr)


class Names(CliTest):
    def image(self, name):
        with open(os.path.join(self.sr, name), "wb") as file:
            file.write(bytes(1 << 20))

    def test_sr_not_found(self):
        for sr in (self.path("nowhere"), "6b2c3d4e-0000-4000-8000-00000000abcd"):
            error = self.error("tree", sr, status=5)
            self.assertEqual((error["code"], error["object"]), ("not-found", sr))

    def test_a_file_is_no_sr(self):
        self.image("x.raw")
        self.error("tree", os.path.join(self.sr, "x.raw"), status=5)

    def test_group_not_found(self):
        error = self.error("tree", "vg:no-such-group", status=5)
        self.assertEqual((error["code"], error["object"]), ("not-found", "vg:no-such-group"))
        self.error("tree", "vg:-not a name", status=2)

    def test_vdi_by_prefix(self):
        self.image("11111111-0001-4000-8000-000000000000.raw")
        self.image("11111111-0002-4000-8000-000000000000.raw")
        self.image("22222222-0001-4000-8000-000000000000.raw")
        self.coppice("collect", self.sr, "22222222", "--dry-run")
        self.coppice("collect", self.sr, "11111111-0001-4000-8000-000000000000".upper(), "--dry-run")
        self.assertIn("more than one", self.error("collect", self.sr, "11111111", "--dry-run", status=2)["text"])
        self.error("collect", self.sr, "2222222", "--dry-run", status=5)
        self.error("collect", self.sr, "33333333", "--dry-run", status=5)

    def test_an_sr_named_by_a_directory_that_is_a_uuid(self):
        uuid = "6b2c3d4e-0000-4000-8000-00000000abcd"
        os.mkdir(self.path(uuid))
        self.assertEqual(self.json("tree", self.path(uuid))["sr"], uuid)

    def test_an_empty_sr(self):
        self.assertEqual(self.json("tree", self.sr)["nodes"], [])
        self.assertEqual(self.json("plan", self.sr)["steps"], [])
        self.assertEqual(self.json("check", self.sr)["images"], [])
        for verb in (("run", "--once"), ("collect",), ("coalesce",)):
            document = self.json(verb[0], self.sr, *verb[1:])
            self.assertEqual((document["done"], document["failed"], document["skipped"]), ([], [], []))

    def test_bytes_that_are_no_text(self):
        name = os.fsencode(self.directory) + b"/bad-\xff-name"
        os.mkdir(name)
        document = json.loads(self.coppice("tree", name, "--json").stdout)
        self.assertIn("\ufffd", document["sr"])


if __name__ == "__main__":
    unittest.main()
