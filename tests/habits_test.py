"""Fails on habits that make tests say nothing and failures say nothing: skipping, shells, swallowed exceptions, and sleeping
where a condition could be waited for. What is right all the same stands in ALLOWED, with its reason."""

import os
import re
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
FOLDERS = ("format", "lvm", "journal", "coalesce", "gc", "tests", "docs", "units")
CPP = (".cc", ".h", ".in")
PYTHON = (".py",)
CMAKE = ("CMakeLists.txt",)
SHELL = (".sh", "docs/quickstart", "tests/run")

# Habit -> the files in which it is looked for, what it looks like, and what to do instead.
HABITS = {
    "skip": (CPP + PYTHON + CMAKE, r"GTEST_SKIP|DISABLED_|\bskipTest\b|unittest\.skip|exit\(77\)|SKIP_RETURN_CODE",
             "let it fail: tests/run installs what tests need"),
    "shell": (CPP, r"\bstd::system\b|::system\s*\(|\bpopen\s*\(", "pass an argument vector: tests/support/run_program.h"),
    "python-shell": (PYTHON, r"shell\s*=\s*True|\bos\.(system|popen)\b", "pass a list of arguments"),
    "catch-all": (CPP, r"\bcatch\s*\(\s*\.\.\.\s*\)", "name the exceptions, and say what becomes of them"),
    "except-all": (PYTHON, r"^\s*except\s*:", "name the exceptions"),
    "sleep": (CPP, r"\bthis_thread::sleep_(for|until)\b|\b(u|nano|clock_nano)sleep\s*\(|(?<!\w)::sleep\s*\(",
              "wait for the condition, or pass the clock in"),
    "python-sleep": (PYTHON, r"\btime\.sleep\b|\bfrom time import .*\bsleep\b",
                     "wait for the condition: output, a lock, the end of a process"),
    "shell-sleep": (SHELL, r"^\s*(?!#).*\bsleep\s+[0-9.$\"]", "wait for the condition: a line of output, the end of a process"),
}

# (file, habit) -> why it is right there. An entry that nothing needs any more fails, too.
ALLOWED = {
    ("coalesce/sm_note.cc", "catch-all"): "a destructor: what it could not do is logged, and the next run's replay does it",
    ("gc/verbs/guest_stream.cc", "catch-all"): "a constructor removes its temporary file, and throws on what it caught",
    ("gc/scan/occupancy.cc", "sleep"): "the one real pause between attempts to lock an image; bounded, and passed in for tests",
    ("journal/database.cc", "sleep"): "until the clock that stamps files has ticked, which nothing announces; at most one tick",
    ("journal/database.h", "sleep"): "between looks at the index of a writer who comes or goes, which nothing tells of",
    ("journal/directory.cc", "sleep"): "flock cannot wait with a limit of time",
    ("lvm/pause.cc", "sleep"): "between attempts, as sm retries LVM commands; passed in for tests",
    ("tests/crash/CMakeLists.txt", "skip"): "for tests/support/py/crash_case.py",
    ("tests/support/py/crash_case.py", "skip"): "a build without COPPICE_FAULTS, as a release is, cannot kill itself",
    ("tests/support/py/loop_fs.py", "python-sleep"): "until the kernel has let go of a loop device, which nothing announces",
    ("tests/vm/guest_units.py", "python-sleep"): "the pause between two looks at a condition in a VM whose only processor is shared",
    ("tests/habits_test.py", "skip"): "names what it looks for",
    ("tests/habits_test.py", "python-shell"): "names what it looks for",
    ("tests/habits_test.py", "python-sleep"): "names what it looks for",
}


def habits_in(path, line):
    """The habits that a line of this file shows."""
    return [habit for habit, (files, pattern, _) in HABITS.items() if path.endswith(files) and re.search(pattern, line)]


def sources():
    for folder in FOLDERS:
        for directory, folders, files in os.walk(os.path.join(ROOT, folder)):
            folders[:] = [name for name in folders if name not in ("__pycache__", "data")]
            for file in sorted(files):
                path = os.path.relpath(os.path.join(directory, file), ROOT)
                if path.endswith(CPP + PYTHON + CMAKE + SHELL):
                    yield path


def main():
    complaints, seen, needed = [], 0, set()
    for path in sources():
        seen += 1
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                for habit in habits_in(path, line):
                    if (path, habit) in ALLOWED:
                        needed.add((path, habit))
                    else:
                        complaints.append(f"{path}:{number}: {habit}: {line.strip()}\n    {HABITS[habit][2]}")
    complaints += [f"{path}: {habit} is allowed, but not there any more" for path, habit in sorted(ALLOWED.keys() - needed)]
    if seen < 100:
        complaints.append("too few files were found for this to be the source tree")
    print("\n".join(complaints) or f"{seen} files have no bad habits")
    return 1 if complaints else 0


def check_itself():
    """The test must be able to fail."""
    for path, line, habit in (
        ("tests/a_test.cc", '    if (!have()) GTEST_SKIP() << "no";', "skip"),
        ("tests/a_test.py", '            self.skipTest("no")', "skip"),
        ("tests/a_test.cc", '    std::system("true");', "shell"),
        ("tests/a_test.cc", '    FILE* pipe = ::popen("true", "r");', "shell"),
        ("tests/a_test.py", "    subprocess.run(line, shell=True)", "python-shell"),
        ("gc/a.cc", "    } catch (...) {", "catch-all"),
        ("tests/a_test.py", "    except:", "except-all"),
        ("gc/a.cc", "    std::this_thread::sleep_for(pause);", "sleep"),
        ("tests/a_test.cc", "    ::usleep(100);", "sleep"),
        ("tests/a_test.py", "    time.sleep(0.1)", "python-sleep"),
        ("docs/quickstart", "        sleep 0.1", "shell-sleep"),
    ):
        assert habits_in(path, line) == [habit], (path, line)
    for path, line in (("gc/a.cc", "    } catch (const Error& error) {"), ("tests/a_test.py", "    except OSError:")):
        assert not habits_in(path, line), (path, line)


if __name__ == "__main__":
    check_itself()
    sys.exit(main())
