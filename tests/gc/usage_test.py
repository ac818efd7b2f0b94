"""What the program answers to command lines that make no sense, and to names that fit nothing or too much."""

import json
import os
import unittest

from cli_support import CliTest

VERBS = ("run", "tree", "plan", "coalesce", "collect", "status", "explain", "history", "pause", "resume", "hold", "release", "kick",
         "metrics", "check", "read")
LATER = ("doctor", "space", "metadata", "journal", "report")


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
        for option in ("--idle=0", "--idle=soon", "--rate=0", "--window=noon", "--window=25:00-26:00", "--danger-depth=1"):
            self.error("run", self.sr, option, status=2)
        for option in ("--idle=5", "--window=22:00-06:00", "--danger-depth=9"):
            self.assertIn("--once", self.error("run", self.sr, "--once", option, status=2)["text"])
        self.assertIn("--once", self.error("run", self.sr, "--dry-run", status=2)["text"])
        for verb, option in (("pause", "--for=0"), ("pause", "--for=ever"), ("history", "--since=once"), ("history", "--limit=all")):
            self.error(verb, self.sr, option, status=2)
        self.error("release", self.sr, "first", status=2)
        self.error("hold", self.sr, "12345678", status=5)

    def test_help(self):
        out = self.coppice("--help").stdout
        for verb in VERBS:
            self.assertIn(f"\n  {verb} ", out)
            self.assertIn(f"usage: coppice {verb} ", self.coppice(verb, "--help").stdout)
        self.assertTrue(self.coppice("--version").stdout.startswith("coppice "))

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
