"""check and read on all stored images: verdicts, contents, and no surprise from damaged ones."""

import json
import os
import subprocess
import unittest

from cli_support import DATA, CliTest

VERDICTS = {"ok": "ok", "leaks": "leaks", "corrupt": "corrupt", "refuse": "unsupported"}
HASHED_UP_TO = 1 << 30


def unpack(case, directory):
    for parent, _, files in os.walk(case):
        for name in files:
            if name.endswith(".zst"):
                target = os.path.join(directory, os.path.relpath(os.path.join(parent, name[:-4]), case))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                subprocess.run(["zstd", "-q", "-d", "--sparse", "-f", "-o", target, os.path.join(parent, name)], check=True)


def manifest(kind):
    try:
        with open(os.path.join(DATA, kind, "manifest.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise unittest.SkipTest(f"no stored {kind} images") from None


class Fixtures(CliTest):
    def check(self, path, root):
        result = self.coppice("check", path, "--root", root, "--json", status=None)
        self.assertIn(result.returncode, (0, 3), result.stderr)
        image = json.loads(result.stdout)["images"][0]
        self.assertEqual(image["path"], path)
        if image["verdict"] in ("ok", "leaks"):
            self.assertEqual((result.returncode, image["reason"]), (0, None), image)
        if image["verdict"] == "corrupt":
            self.assertEqual(result.returncode, 3)
        return image

    def read(self, path, root, expected, doubtful=False):
        result = self.coppice("read", path, "--root", root, "--sha256", status=3 if doubtful else 0)
        self.assertEqual(result.stdout.strip(), expected, result.stderr)

    def test_qcow2(self):
        for case in manifest("qcow2")["cases"]:
            directory = self.path(case["name"])
            unpack(os.path.join(DATA, "qcow2", case["name"]), directory)
            with self.subTest(case["name"]):
                image = self.check(os.path.join(directory, case["open_this"]), directory)
                if case["name"].startswith("chain-vhd-"):
                    # The manifest refuses these for what a host can run; the images themselves are sound, and can be merged.
                    self.assertEqual([finding["code"] for finding in image["findings"]], ["parent-format"])
                    self.assertEqual((image["verdict"], image["readable"]), ("ok", True))
                else:
                    self.assertEqual(image["verdict"], VERDICTS[case["verdict"]], image)
                if case.get("refuse_scope") == "open":
                    self.assertFalse(image["readable"])
                    self.coppice("read", os.path.join(directory, case["open_this"]), "--sha256", status=3)
                for node in case["nodes"]:
                    known = "guest_sha256" in node and node["virtual_size"] <= HASHED_UP_TO
                    sound = case["verdict"] in ("ok", "leaks") or case["name"] in ("data-file", "data-file-raw")
                    if known and node["file"].endswith((".qcow2", ".raw")) and sound:
                        self.read(os.path.join(directory, node["file"]), directory, node["guest_sha256"])

    def test_vhd(self):
        unpacked = set()
        for entry in manifest("vhd")["entries"]:
            directory = self.path(entry["case"])
            if entry["case"] not in unpacked:
                unpack(os.path.join(DATA, "vhd", entry["case"]), directory)
                unpacked.add(entry["case"])
            path = os.path.join(directory, entry["file"])
            with self.subTest(f"{entry['case']}/{entry['file']}"):
                image = self.check(path, directory)
                chain_ok = entry.get("chain_ok", True)
                if entry["sound"] and chain_ok:
                    self.assertEqual(image["verdict"], "ok", image)
                else:
                    self.assertIn(image["verdict"], ("corrupt", "unsupported"), image)
                if entry["case"] in ("cyclic-parents", "self-parent"):
                    self.assertEqual(image["reason"], "chain-cycle")
                if entry["case"] == "missing-parent":
                    self.assertEqual(image["reason"], "parent-missing")
                known = "guest_sha256" in entry and entry.get("virtual_size", 0) <= HASHED_UP_TO
                if known and entry["sound"]:
                    self.read(path, directory, entry["guest_sha256"])
                if entry["case"] == "parent-uuid-mismatch" and not chain_ok:
                    self.read(path, directory, entry["guest_sha256"], doubtful=True)


if __name__ == "__main__":
    unittest.main()
