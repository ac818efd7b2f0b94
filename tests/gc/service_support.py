"""A running service for tests: started, asked, watched and stopped; every wait is for a condition, with a limit."""

import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time

from cli_support import BINARY, CliTest

LIMIT = 60  # seconds after which a condition that has not come true is a failure


class NotifySocket:
    """What the service tells systemd: read at once, as systemd does."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.seen = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        while received := self.socket.recv(65536):
            with self.changed:
                self.seen += received.decode().split("\n")
                self.changed.notify_all()

    def wait_for(self, start):
        with self.changed:
            if not self.changed.wait_for(lambda: any(line.startswith(start) for line in self.seen), timeout=LIMIT):
                raise AssertionError(f"systemd was not told {start}, only {self.seen}")

    def forget(self):
        with self.changed:
            self.seen.clear()

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.path)
        self.reader.join()
        self.socket.close()


def is_socket(fd):
    try:
        return os.readlink(fd).startswith("socket:")
    except FileNotFoundError:  # closed just now
        return False


class RunningService:
    def __init__(self, test, *options, environment=None, watchdog=None):
        self.test = test
        self.notify = NotifySocket(test.path(f"notify-{time.monotonic_ns()}"))
        test.addCleanup(self.notify.close)
        variables = {**os.environ, "NOTIFY_SOCKET": self.notify.path, **(environment or {})}
        if watchdog:
            variables["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        self.log = open(test.path("service.log"), "ab")
        test.addCleanup(self.log.close)
        self.process = subprocess.Popen(
            [BINARY, "run", test.sr, "--state-dir", test.path("state"), "--run-dir", test.path("run"), "--config", test.path("etc"),
             "-v", *options], env=variables, stdout=subprocess.DEVNULL, stderr=self.log)
        test.addCleanup(self.kill)
        self.notify.wait_for("READY=1")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """Exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=LIMIT)

    def socket_path(self):
        names = [name for name in os.listdir(self.test.path("run")) if name.endswith(".sock")]
        assert len(names) == 1, names
        return self.test.path("run", names[0])

    def connect(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(LIMIT)
        connection.connect(self.socket_path())
        return connection

    def wait_for_sockets(self, condition):
        """How many it has, as soon as `condition` holds for that."""
        directory, deadline, pause = f"/proc/{self.process.pid}/fd", time.monotonic() + LIMIT, threading.Event()
        while not condition(sockets := sum(is_socket(os.path.join(directory, fd)) for fd in os.listdir(directory))):
            if time.monotonic() > deadline:
                raise AssertionError(f"the service has {sockets} sockets")
            pause.wait(0.01)
        return sockets

    def call(self, request):
        """The last line that comes back, or None."""
        with self.connect() as connection:
            connection.sendall(request)
            received = b""
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                received += part
        lines = received.decode().splitlines()
        return json.loads(lines[-1]) if lines else None


class ServiceTest(CliTest):
    def service(self, *options, **others):
        return RunningService(self, *options, **others)

    def status(self):
        return self.json("status", self.sr)

    def wait_status(self, condition, what):
        """The first status for which `condition` holds, as `status --watch` shows them."""
        process = subprocess.Popen(
            [BINARY, "status", self.sr, "--watch", "--json", "--state-dir", self.path("state"), "--run-dir", self.path("run")],
            stdout=subprocess.PIPE)
        deadline = time.monotonic() + LIMIT
        received = b""
        last = None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                while selector.select(max(0, deadline - time.monotonic())):
                    part = os.read(process.stdout.fileno(), 65536)
                    if not part:
                        break
                    received += part
                    while b"\n" in received:
                        line, received = received.split(b"\n", 1)
                        last = json.loads(line)
                        if condition(last):
                            return last
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        return self.fail(f"{what}: did not come true; the last status was {last}")

    def history(self):
        return self.json("history", self.sr)
