"""Reads every #include below the product's folders and fails on an arrow that is not in the picture in docs/HACKING.md."""

import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
FOLDERS = ("format", "lvm", "journal", "coalesce", "gc")

BELOW_GC = {"coalesce", "format", "format/base", "journal", "lvm"}
# Part -> the parts that it may include besides itself. The longest name that is a folder of a file is its part.
MAY_INCLUDE = {
    "format/base": set(),
    "format/vhd": {"format", "format/base"},
    "format/qcow2": {"format", "format/base"},
    "format/raw": {"format", "format/base"},
    "format": {"format/base"},
    "lvm": {"format/base"},
    "journal": {"format/base"},
    "coalesce": {"format", "format/base", "journal", "lvm"},
    "gc/base": BELOW_GC,
    "gc/scan": BELOW_GC | {"gc/base"},
    "gc/sm": BELOW_GC | {"gc/base", "gc/scan"},
    "gc/volumes": BELOW_GC | {"gc/base", "gc/scan", "gc/sm"},
    "gc/cycle": BELOW_GC | {"gc/base", "gc/scan", "gc/sm", "gc/volumes"},
    "gc/service": BELOW_GC | {"gc/base", "gc/scan", "gc/sm", "gc/volumes", "gc/cycle"},
    "gc/verbs": BELOW_GC | {"gc/base", "gc/scan", "gc/sm", "gc/volumes", "gc/cycle", "gc/service"},
    "gc": {"gc/verbs"},
}
# These put the formats together, and are the only ones that know them all.
JOINTS = {"format/open.cc", "format/check.cc"}
# What format/vhd, format/qcow2 and format/raw offer to those.
OFFERED = re.compile(r"format/(vhd|qcow2|raw)/(image|check)\.h$")
# Libraries that a part may use besides the standard library, the kernel and Boost; malloc.h is GNU's.
LIBRARIES = {
    "format/qcow2": {"zlib.h", "zstd.h"},
    "journal": {"SQLiteCpp/", "sqlite3.h"},
    "gc/verbs": {"openssl/"},
    "gc/service": {"systemd/", "malloc.h"},
}
KERNEL = ("sys/", "linux/", "netinet/", "arpa/")
POSIX = {"dirent.h", "endian.h", "fcntl.h", "poll.h", "pthread.h", "pwd.h", "sched.h", "signal.h", "spawn.h", "syslog.h", "unistd.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def part_of(path):
    return max((part for part in MAY_INCLUDE if path.startswith(part + "/")), key=len, default=None)


def system_header_allowed(part, name):
    if "." not in name and "/" not in name:
        return True  # the standard library
    if name.startswith("boost/") or name.startswith(KERNEL) or name in POSIX:
        return True
    return any(name.startswith(allowed) for allowed in LIBRARIES.get(part, ()))


def complaint(path, style, name):
    part = part_of(path)
    if style == "<":
        return None if system_header_allowed(part, name) else f"{part} may not use the library of <{name}>"
    if path in JOINTS and OFFERED.match(name):
        return None
    target = part_of(name)
    if target is None:
        return f'"{name}" is written from the root in no part of the product'
    if not os.path.exists(os.path.join(ROOT, name)) and not name.endswith(".in"):
        return f'"{name}" does not exist'
    if target != part and target not in MAY_INCLUDE[part]:
        return f"{part} may not include {target} ({name})"
    return None


def sources():
    for folder in FOLDERS:
        for directory, _, files in os.walk(os.path.join(ROOT, folder)):
            for file in sorted(files):
                if file.endswith((".h", ".cc", ".in")):
                    yield os.path.relpath(os.path.join(directory, file), ROOT)


def main():
    complaints, seen = [], 0
    for path in sources():
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                seen += 1
                text = complaint(path, *match.groups())
                if text:
                    complaints.append(f"{path}:{number}: {text}")
    print("\n".join(complaints) or f"{seen} includes follow the arrows")
    if seen < 100:
        complaints.append("too few includes were found for this to be the source tree")
    return 1 if complaints else 0


def check_itself():
    """The test must be able to fail."""
    assert complaint("format/vhd/image.cc", '"', "format/qcow2/image.h")
    assert complaint("format/image.cc", '"', "format/vhd/image.h")
    assert complaint("journal/journal.cc", '"', "format/image.h")
    assert complaint("coalesce/plan.cc", '"', "gc/scan/scan.h")
    assert complaint("gc/scan/scan.cc", '"', "tests/support/fixtures.h")
    assert complaint("format/base/log.cc", "<", "zstd.h")
    assert not complaint("gc/cycle/session.h", '"', "coalesce/plan.h")


if __name__ == "__main__":
    check_itself()
    sys.exit(main())
