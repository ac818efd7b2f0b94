#!/usr/bin/env python3
"""Turns the manual page from Markdown, where it is written, into the form that man reads.

    make_man.py coppice.8.md > coppice.8

Knows exactly what the page uses: headings, paragraphs, indented examples, definition lists, `code`, **bold** and *italic*.
"""

import re
import sys


def inline(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    text = re.sub(r"\*\*([^*]*)\*\*", r"\\fB\1\\fR", text)
    text = re.sub(r"\*([^*]*)\*", r"\\fI\1\\fR", text)
    return "\\&" + text if text[:1] in ".'" else text


def convert(lines):
    title = re.match(r"# (\w+)\((\d)\)", lines[0])
    yield f'.TH {title[1]} {title[2]} "" "coppice" "System Administration"'
    index = 1
    while index < len(lines):
        line = lines[index]
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if line.startswith("### "):
            yield f'.SS "{inline(line[4:])}"'
        elif line.startswith("## "):
            yield f'.SH "{inline(line[3:])}"'
        elif line.startswith("    "):
            yield ".PP\n.RS 4\n.nf"
            while index < len(lines) and (lines[index].startswith("    ") or not lines[index]):
                if lines[index] or (index + 1 < len(lines) and lines[index + 1].startswith("    ")):
                    yield inline(lines[index][4:]) if lines[index] else ""
                index += 1
            yield ".fi\n.RE"
            continue
        elif following.startswith(": "):
            yield f".TP\n{inline(line)}\n{inline(following[2:])}"
            index += 1
        elif line:
            if not lines[index - 1]:
                yield ".PP"
            yield inline(line)
        index += 1


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print("\n".join(convert(file.read().splitlines())))
