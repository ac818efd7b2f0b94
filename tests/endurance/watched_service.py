"""The service as a process of its own: started, killed, asked, and looked at from outside; its time may pass faster."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("../support/py", "../gc"):
    sys.path.insert(0, os.path.normpath(os.path.join(HERE, folder)))

import oracles  # noqa: E402
from crash_case import KILL_VARIABLE  # noqa: E402
from service_support import NotifySocket  # noqa: E402

LIMIT = 60  # real seconds after which a condition that has not come true is a failure
TIME_VARIABLE = "COPPICE_TEST_TIME_FACTOR"


class ServiceDied(Exception):
    """It is not there any more, because the test wanted it so."""


class WatchedService:
    def __init__(self, scratch, sr, factor, *, sm_root=None, options=()):
        self.scratch, self.sr, self.factor, self.options = scratch, sr, factor, options
        self.begun = time.time()
        self.environment = {**os.environ, TIME_VARIABLE: f"{factor}@{self.begun:.3f}"}
        self.environment.pop(KILL_VARIABLE, None)
        if sm_root:
            self.environment["COPPICE_TEST_SM_ROOT"] = sm_root
        self.log_path = os.path.join(scratch, "service.log")
        self.log = open(self.log_path, "ab")
        self.process, self.notify, self.may_die, self.starts = None, None, False, 0  # no process: it was ended on purpose

    def now(self):
        """The time that the service sees."""
        return self.begun + (time.time() - self.begun) * self.factor

    def places(self):
        return ["--state-dir", os.path.join(self.scratch, "state"), "--run-dir", os.path.join(self.scratch, "run"), "--xapi", "none"]

    def start(self, changes=None):
        """`changes`: how many it may make before it kills itself."""
        self.starts += 1
        self.notify = NotifySocket(os.path.join(self.scratch, f"notify{self.starts}"))
        environment = {**self.environment, "NOTIFY_SOCKET": self.notify.path}
        self.may_die = changes is not None
        if changes is not None:
            environment[KILL_VARIABLE] = str(changes)
        self.process = subprocess.Popen(
            [oracles.binary(), "run", self.sr, *self.places(), "--config", os.path.join(self.scratch, "etc"), "-v", *self.options],
            env=environment, stdout=subprocess.DEVNULL, stderr=self.log)
        self.wait_until(lambda: "READY=1" in self.notify.seen, "ready")

    def pause(self, seconds):
        """Lets real time pass; ends at once when the service does, which only happens where it may."""
        try:
            status = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return
        if not self.may_die or status != -signal.SIGKILL:
            raise oracles.Failure(f"the service ended by itself with status {status}\n{self.last_words()}")
        raise ServiceDied

    def wait_until(self, condition, what):
        deadline = time.monotonic() + LIMIT
        while not condition():
            self.pause(0.005)
            if time.monotonic() > deadline:
                raise oracles.Failure(f"{what}: did not come true in {LIMIT} s\n{self.last_words()}")

    def last_words(self):
        with open(self.log_path, "rb") as file:
            file.seek(max(0, os.path.getsize(self.log_path) - 3000))
            return file.read().decode(errors="replace")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def end(self, with_signal):
        """SIGKILL or SIGTERM; the latter must be obeyed."""
        expected = -signal.SIGKILL if with_signal == signal.SIGKILL else 0
        if self.alive():
            self.process.send_signal(with_signal)
        status = self.process.wait(timeout=LIMIT)
        if status != expected and not (self.may_die and status == -signal.SIGKILL):
            raise oracles.Failure(f"the service ended with {status}, expected {expected}\n{self.last_words()}")
        self.process = None
        self.notify.close()
        os.unlink(self.notify.path)

    def close(self):
        if self.process:
            self.may_die = True
            self.end(signal.SIGKILL)
        self.log.close()

    # What it is asked

    def ask(self, verb, *, ok=(0,), **arguments):
        """The document of the reply. Throws ServiceDied where the service may die and does."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(LIMIT)
                connection.connect(os.path.join(self.scratch, "run", os.path.basename(self.sr) + ".sock"))
                connection.sendall(json.dumps({"version": 1, "verb": verb, **arguments}).encode() + b"\n")
                received = b""
                while part := connection.recv(65536):
                    received += part
            reply = json.loads(received.decode().splitlines()[-1])
            if "status" not in reply:
                raise ConnectionError("it ended in the middle")
        except (ConnectionError, IndexError, FileNotFoundError) as error:
            self.pause(LIMIT)  # raises, whatever the reason of the end was
            raise oracles.Failure(f"{verb}: no answer from a service that lives ({error})") from error
        if reply["status"] not in ok:
            raise oracles.Failure(f"{verb} {arguments}: {reply}")
        return reply.get("document", {})

    def status(self):
        return self.ask("status")

    # What is seen of it from outside

    def proc(self, *names):
        with open(os.path.join("/proc", str(self.process.pid), *names), encoding="ascii") as file:
            return file.read()

    def descriptors(self):
        directory = f"/proc/{self.process.pid}/fd"
        found = []
        for fd in os.listdir(directory):
            try:
                found.append(re.sub(r"\[[0-9]+\]", "", os.readlink(os.path.join(directory, fd))))
            except FileNotFoundError:
                pass
        return sorted(found)

    def memory(self):
        """(bytes of its own that are resident, threads)"""
        status = dict(line.split(":", 1) for line in self.proc("status").splitlines())
        return int(status["RssAnon"].split()[0]) * 1024, int(status["Threads"])

    def activity(self):
        """Changes with whatever any thread does: system calls that move bytes, and times on a processor."""
        switches = 0
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            text = self.proc("task", thread, "status")
            switches += sum(int(number) for number in re.findall(r"ctxt_switches:\s+([0-9]+)", text))
        return self.proc("io"), switches


