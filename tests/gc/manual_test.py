"""The manual and the program say the same: every option that --help lists is in the manual, and the other way round."""

import os
import re
import subprocess
import sys
import unittest

from cli_support import SOURCE, CliTest

MANUAL = os.path.join(SOURCE, "docs", "man", "coppice.8.md")


def sections():
    """Heading -> text."""
    with open(MANUAL, encoding="utf-8") as file:
        parts = re.split(r"^#{2,3} (.*)$", file.read(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def documented(text):
    """Options that are the term of a definition."""
    found = set()
    for term, following in zip(text.splitlines(), text.splitlines()[1:]):
        if following.startswith(": "):
            found |= set(re.findall(r"--[a-z0-9-]+", term))
    return found


def offered(help_text):
    return set(re.findall(r"^  (?:-\w \[ )?(--[a-z0-9-]+)", help_text, re.MULTILINE))


class Manual(CliTest):
    def test_options(self):
        manual = sections()
        common = documented(manual["OPTIONS"])
        verbs = re.findall(r"^  (\w+) ", self.coppice("--help").stdout, re.MULTILINE)
        self.assertEqual(sorted(verbs), sorted(heading.split()[0] for heading in manual if re.match(r"[a-z]+ \[?(SR|FILE)", heading)))
        for verb in verbs:
            heading = next(heading for heading in manual if heading.startswith(verb + " "))
            listed = offered(self.coppice(verb, "--help").stdout)
            self.assertEqual(listed, documented(manual[heading]) | common, verb)

    def test_what_every_manual_has(self):
        manual = sections()
        for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "REASON CODES"):
            self.assertIn(heading, manual)
        self.assertEqual(re.findall(r"^`(\d)`$", manual["EXIT STATUS"], re.MULTILINE), [str(status) for status in range(9)])

    def test_reason_codes(self):
        """Every code that the program can answer with is explained."""
        listed = set(re.findall(r"`([a-z-]+)`", sections()["REASON CODES"]))
        pattern = re.compile(r'(?:Refused\{|reason = |reason, )"([a-z]+(?:-[a-z]+)*)"')
        for folder in ("coalesce", "gc"):
            for directory, _, files in os.walk(os.path.join(SOURCE, folder)):
                for name in files:
                    with open(os.path.join(directory, name), encoding="utf-8") as file:
                        for code in pattern.findall(file.read()):
                            self.assertIn(code, listed, name)

    def test_the_page_that_man_reads_is_up_to_date(self):
        made = subprocess.run([sys.executable, os.path.join(SOURCE, "docs/man/make_man.py"), MANUAL], check=True, capture_output=True,
                              text=True).stdout
        with open(MANUAL.removesuffix(".md"), encoding="utf-8") as file:
            self.assertEqual(file.read(), made)


if __name__ == "__main__":
    unittest.main()
