"""`coppice run` that stops itself again and again, right before one of its changes, until it is told to go on."""

import os
import signal
import socket
import subprocess
import threading
import time

import oracles
from stopped_program import STOP_VARIABLE

LIMIT = 60  # seconds for what has to happen soon
TIME_VARIABLE = "COPPICE_TEST_TIME_FACTOR"
FACTOR = 100  # by which the service's waiting is shortened: what it waits for is not of interest here


class StoppingService:
    def __init__(self, sr, options, log_path, gaps):
        """`gaps`: the numbers of changes between two stops."""
        self.socket_path = os.path.join(options[options.index("--run-dir") + 1], os.path.basename(sr) + ".sock")
        environment = {**os.environ, STOP_VARIABLE: ",".join(map(str, gaps)), TIME_VARIABLE: f"{FACTOR}@{time.time():.3f}"}
        self.log = open(log_path, "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen([oracles.binary(), "run", sr, *options, "-v"], env=environment, stdout=subprocess.DEVNULL,
                                        stderr=self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def stopped(self):
        """Whether it has stopped since it was told to go on. Fails where it has ended."""
        if self._just_stopped():
            return True
        if self.process.poll() is not None:
            raise oracles.Failure(f"the service has ended with {self.process.returncode}\n{self.words()}")
        return False

    def _just_stopped(self):
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOHANG) is not None
        except ChildProcessError:  # it has ended, which is not asked for here
            return False

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def ask(self, request):
        """Without waiting for the answer: it may be stopped, or not be there yet."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(LIMIT)
                connection.connect(self.socket_path)
                connection.sendall(request.encode() + b"\n")
        except OSError:
            pass

    def end(self):
        """As systemd does it, when it has come up; it goes on wherever it stops on its way."""
        self._let_pass(lambda: os.path.exists(self.socket_path) or self.process.poll() is not None, "start")
        self.process.send_signal(signal.SIGTERM)
        self._let_pass(lambda: self.process.poll() is not None, "end")
        if self.process.returncode:
            raise oracles.Failure(f"the service ended with {self.process.returncode}\n{self.words()}")

    def _let_pass(self, condition, what):
        deadline, pause = time.monotonic() + LIMIT, threading.Event()
        while not condition():
            if self._just_stopped():
                self.go_on()
            if time.monotonic() > deadline:
                raise oracles.Failure(f"the service does not {what}\n{self.words()}")
            pause.wait(0.002)

    def words(self):
        self.log.seek(0)
        return self.log.read()[-6000:]
