#!/usr/bin/python3
"""The service as a process: what it does by itself, what it does when asked, and how it ends."""

import datetime
import json
import os
import shutil
import signal
import subprocess
import unittest

from cli_support import BINARY, hashes, make_demo
from service_support import LIMIT, ServiceTest


def other_window():
    """A window that is closed now and for the next hours."""
    now = datetime.datetime.now()
    begin, end = now + datetime.timedelta(hours=3), now + datetime.timedelta(hours=4)
    return f"{begin:%H:%M}-{end:%H:%M}"


def qemu_img(*arguments):
    subprocess.run(["qemu-img", *arguments], check=True, stdout=subprocess.DEVNULL)


class DemoService(ServiceTest):
    def setUp(self):
        super().setUp()
        make_demo(self.sr)
        self.before = hashes(self.sr)

    def unchanged(self):
        after = hashes(self.sr)
        self.assertEqual({uuid: after.get(uuid) for uuid in self.before}, self.before)


class Alone(DemoService):
    def test_works_at_its_start_and_rests(self):
        service = self.service()
        status = self.wait_status(lambda s: s["state"] == "idle", "idle")
        self.assertIsNone(status["operation"])
        self.assertEqual(status["service"]["pid"], service.process.pid)
        self.assertGreater(len(self.history()["operations"]), 3)
        self.unchanged()
        self.assertEqual(self.json("plan", self.sr)["steps"], [])
        self.assertEqual(service.stop(), 0)
        service.notify.wait_for("STOPPING=1")
        self.assertFalse([name for name in os.listdir(self.path("run")) if name.endswith(".sock")])

    def test_holds_nothing_of_the_sr_while_it_rests(self):
        service = self.service()
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        directory = f"/proc/{service.process.pid}/fd"
        held = [os.readlink(os.path.join(directory, fd)) for fd in os.listdir(directory)]
        self.assertEqual([path for path in held if path.startswith(self.sr)], [])

    def test_sees_what_changes(self):
        self.service("--idle", "1h")
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        garbage = "99999999-0001-4000-8000-000000000000"
        outside = self.path(garbage + ".qcow2")
        qemu_img("create", "-q", "-f", "qcow2", outside, "1M")
        subprocess.run(["/usr/bin/python3", os.path.join(os.path.dirname(__file__), "../../docs/demo/hide_qcow2.py"), outside], check=True)
        os.rename(outside, os.path.join(self.sr, garbage + ".qcow2"))
        self.wait_status(lambda s: not os.path.exists(os.path.join(self.sr, garbage + ".qcow2")), "the garbage is gone")
        self.assertTrue(any(o["op"] == "collect" and o["vdi"] == garbage and o["state"] == "done" for o in self.history()["operations"]))

    def test_goes_on_when_a_reader_lets_go(self):
        image = next(n["path"] for n in self.json("tree", self.sr)["nodes"] if n["uuid"].startswith("aaaaaaaa-0004"))
        with open(image, "rb"):
            self.service("--idle", "1h")
            status = self.wait_status(lambda s: s["state"] == "idle", "idle")
            self.assertTrue(any(e["vdi"].startswith("aaaaaaaa") and e["reason"] == "attached" for e in status["skipped"]), status["skipped"])
        self.wait_status(lambda s: s["state"] == "idle" and not any(e["reason"] == "attached" for e in s["skipped"]), "merged")
        self.unchanged()

    def test_only_one_per_sr(self):
        service = self.service()
        error = self.error("run", self.sr, "--config", self.path("etc"), status=6)
        self.assertIn(str(service.process.pid), error["text"])

    def test_waits_for_an_sr_that_is_away(self):
        self.service()
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        os.rename(self.sr, self.path("away"))
        # The name is gone, so the verbs cannot find the SR either: they are asked through a link of the same name.
        with self.subTest("gone"):
            self.error("kick", self.sr, "--wait", status=5)
        os.rename(self.path("away"), self.sr)
        self.json("kick", self.sr, "--wait")
        self.assertEqual(self.wait_status(lambda s: s["state"] == "idle", "idle again")["state"], "idle")
        self.unchanged()

    def test_a_damaged_journal_is_said_and_started_anew(self):
        self.service()
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        state = self.path("state", os.listdir(self.path("state"))[0])
        for name in os.listdir(state):
            os.remove(os.path.join(state, name))
        with open(os.path.join(state, "journal.db"), "wb") as out:
            out.write(b"no database" * 1000)
        self.coppice("kick", self.sr, "--wait", status=None)
        status = self.wait_status(lambda s: s["state"] == "idle" and s["notices"], "said so")
        self.assertIn("set aside", status["notices"][0])
        self.assertTrue(any(".damaged-" in name for name in os.listdir(state)))
        self.unchanged()


class Told(DemoService):
    def setUp(self):
        super().setUp()
        self.running = self.service("--window", other_window())
        self.wait_status(lambda s: s["state"] == "waiting", "outside the window")

    def test_window(self):
        status = self.status()
        self.assertIn("window", status["text"])
        self.assertIn("outside-window", {entry["reason"] for entry in status["skipped"]})
        self.assertEqual([o for o in self.history()["operations"]], [])
        self.assertEqual(self.json("explain", self.sr, "aaaaaaaa-0002")["reason"], "outside-window")

    def test_work_asked_for_is_done_outside_the_window(self):
        done = self.json("coalesce", self.sr, "--leaf")["done"]
        self.assertGreater(len(done), 2)
        self.unchanged()

    def test_named_vdis_only(self):
        done = self.json("coalesce", self.sr, "aaaaaaaa-0002")["done"]
        self.assertEqual(len(done), 1)
        self.assertTrue(done[0]["vdi"].startswith("aaaaaaaa") or done[0]["into"].startswith("aaaaaaaa"))
        self.error("coalesce", self.sr, "12345678", status=5)

    def test_pause_and_resume(self):
        self.json("pause", self.sr, "--for", "1h", "--reason", "upgrade of the array")
        status = self.wait_status(lambda s: s["state"] == "paused", "paused")
        self.assertIn("upgrade of the array", status["text"])
        error = self.error("coalesce", self.sr, "aaaaaaaa-0002", status=6)
        self.assertEqual(error["code"], "paused")
        explanation = self.json("explain", self.sr, "aaaaaaaa-0002")
        self.assertEqual((explanation["verdict"], explanation["reason"]), ("waiting", "paused"))
        self.assertIn("upgrade of the array", json.dumps(explanation))
        # It survives the service.
        self.assertEqual(self.running.stop(), 0)
        self.assertEqual(self.status()["state"], "paused")
        self.service()
        self.assertEqual(self.wait_status(lambda s: s["state"] != "working", "at rest")["state"], "paused")
        self.json("resume", self.sr)
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        self.assertEqual(self.json("plan", self.sr)["steps"], [])
        self.unchanged()

    def test_hold_and_release(self):
        hold = self.json("hold", self.sr, "aaaaaaaa-0004", "--reason", "backup of the night")["hold"]
        self.assertTrue(hold["vdi"].startswith("aaaaaaaa-0004"))
        done = self.json("coalesce", self.sr, "--leaf")["done"]
        self.assertFalse([step for step in done if step["vdi"].startswith("aaaaaaaa")])
        explanation = self.json("explain", self.sr, "aaaaaaaa-0002")
        self.assertEqual(explanation["reason"], "held")
        self.assertTrue(any(holder["kind"] == "hold" and "backup of the night" in holder["text"] for holder in explanation["holders"]))
        self.assertEqual([h["id"] for h in self.status()["holds"]], [hold["id"]])
        self.json("release", self.sr, str(hold["id"]))
        self.error("release", self.sr, str(hold["id"]), status=5)
        self.assertTrue(self.json("coalesce", self.sr, "--leaf")["done"])
        self.unchanged()

    def test_reload(self):
        os.mkdir(self.path("etc"))
        self.running.notify.forget()
        self.running.process.send_signal(signal.SIGHUP)
        self.running.notify.wait_for("READY=1")
        # The command line goes before files.
        self.assertIn("window", self.wait_status(lambda s: s["state"] != "working", "at rest")["text"])

    def test_a_wrong_file_changes_nothing(self):
        os.mkdir(self.path("etc"))
        with open(self.path("etc", "coppice.conf"), "w", encoding="ascii") as out:
            out.write("idel = 5\n")
        self.running.process.send_signal(signal.SIGHUP)
        status = self.wait_status(lambda s: s["notices"], "said so")
        self.assertIn("idel", status["notices"][0])


class Others(DemoService):
    def test_files(self):
        os.mkdir(self.path("etc"))
        with open(self.path("etc", "coppice.conf"), "w", encoding="ascii") as out:
            out.write(f"window = {other_window()}\n")
        service = self.service()
        self.wait_status(lambda s: s["state"] == "waiting", "outside the window")
        os.remove(self.path("etc", "coppice.conf"))
        service.process.send_signal(signal.SIGHUP)
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        self.assertEqual(self.json("plan", self.sr)["steps"], [])
        self.unchanged()


    def test_metrics(self):
        """OpenMetrics: a type before each family, samples with the SR, an end; the same families without a service."""
        def families(text):
            lines = text.splitlines()
            self.assertEqual(lines[-1], "# EOF")
            names = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
            self.assertEqual(len(names), len(set(names)))
            for line in lines[:-1]:
                if not line.startswith("#"):
                    name, _, rest = line.partition("{")
                    self.assertTrue(any(name in (family, family + "_count", family + "_sum") for family in names), line)
                    self.assertTrue(rest.startswith('sr="'), line)
                    float(line.rsplit(" ", 1)[1])
            return set(names)

        alone = families(self.coppice("metrics", self.sr).stdout)
        self.assertIn("coppice_images", alone)
        self.service()
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        text = self.json("metrics", self.sr)["text"]
        self.assertLess(alone, families(text))
        self.assertRegex(text, r'coppice_images\{sr="[^"]+",state="damaged"\} 1\n')
        self.assertIn("coppice_sr_lock_hold_seconds_count", text)


class LargeMerge(ServiceTest):
    """A merge that takes long enough to be interfered with, because its rate is limited."""

    PIECE = 64  # MiB that each of the three images holds, at places of its own

    def setUp(self):
        super().setUp()
        names = [f"{i}{i}{i}{i}{i}{i}{i}{i}-0000-4000-8000-000000000000" for i in (1, 2, 3)]
        below = None
        for name in names:
            path = os.path.join(self.sr, name + ".qcow2")
            backing = ["-b", below + ".qcow2", "-F", "qcow2"] if below else []
            qemu_img("create", "-q", "-f", "qcow2", *backing, path, f"{3 * self.PIECE}M")
            place = names.index(name)
            subprocess.run(["qemu-io", "-c", f"write -P {place + 1} {place * self.PIECE}M {self.PIECE}M", path], check=True,
                           stdout=subprocess.DEVNULL)
            below = name
        hide = os.path.join(os.path.dirname(__file__), "../../docs/demo/hide_qcow2.py")
        for name in names[:2]:
            subprocess.run(["/usr/bin/python3", hide, os.path.join(self.sr, name + ".qcow2")], check=True)
        self.names = names
        self.before = hashes(self.sr)

    def unchanged(self):
        self.assertEqual(hashes(self.sr), self.before)

    def working(self, done=1):
        return self.wait_status(lambda s: s["operation"] and s["operation"]["bytes_done"] >= done, "working")

    def test_stop_and_go_on(self):
        service = self.service("--rate", "16M")
        status = self.working(33 << 20)
        self.assertEqual(status["state"], "working")
        self.assertGreater(status["operation"]["rate"], 0)
        service.notify.wait_for("STATUS=working: ")
        self.assertEqual(service.stop(), 0)
        self.unchanged()
        self.assertTrue(self.json("status", self.sr)["service"] is None)
        self.service()
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        operation = next(o for o in self.history()["operations"] if o["state"] == "done" and o["op"] != "collect")
        self.assertTrue(operation["resumed"])
        self.unchanged()

    def test_kill_and_go_on(self):
        service = self.service("--rate", "16M")
        self.working(33 << 20)
        service.kill()
        self.service()  # the socket of the dead one is replaced
        self.wait_status(lambda s: s["state"] == "idle", "idle")
        self.assertTrue(any(o["resumed"] for o in self.history()["operations"]))
        self.unchanged()

    def test_hold_ends_what_is_running(self):
        self.service("--rate", "4M")
        self.working()
        explanation = self.json("explain", self.sr, "22222222")
        self.assertEqual(explanation["verdict"], "running")
        hold = self.json("hold", self.sr, "33333333", "--for", "1h")["hold"]
        status = self.wait_status(lambda s: s["state"] == "idle", "idle")
        self.assertIn("held", {entry["reason"] for entry in status["skipped"]})
        self.unchanged()
        self.json("release", self.sr, str(hold["id"]))
        self.working()

    def files(self):
        """Name, inode, length and time of last change of all that is in the SR, and the directory's own time."""
        with os.scandir(self.sr) as entries:
            found = {entry.name: (entry.inode(), entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries}
        return found, os.stat(self.sr).st_mtime_ns

    def test_nothing_is_written_any_more_when_hold_and_pause_return(self):
        service = self.service("--rate", "16M")
        for attempt in range(4):
            self.working()
            request = {"version": 1, "verb": "pause"} if attempt % 2 else {"version": 1, "verb": "hold", "vdi": self.names[2]}
            answer = service.call(json.dumps(request).encode() + b"\n")
            then = self.files()
            self.assertEqual(answer["status"], 0)
            self.assertEqual([name for name in then[0] if not name.endswith(".qcow2")], [])
            self.wait_status(lambda s: s["state"] in ("idle", "paused") and not s["operation"] and s["next_cycle"], "at rest")
            self.assertEqual(self.files(), then)
            verb = ("resume", self.sr) if attempt % 2 else ("release", self.sr, str(answer["document"]["hold"]["id"]))
            self.json(*verb)
        self.assertEqual(service.stop(), 0)
        self.unchanged()

    def test_an_interrupted_order_tells_all_it_has_done(self):
        garbage = "99999999-0001-4000-8000-000000000000"
        aside = "88888888-0001-4000-8000-000000000000"
        self.service("--window", other_window())
        self.wait_status(lambda s: s["state"] == "waiting", "outside the window")
        for name in (garbage, aside):
            qemu_img("create", "-q", "-f", "qcow2", self.path(name + ".qcow2"), "1M")
        hide = os.path.join(os.path.dirname(__file__), "../../docs/demo/hide_qcow2.py")
        subprocess.run(["/usr/bin/python3", hide, self.path(garbage + ".qcow2")], check=True)
        for name in (garbage, aside):
            os.rename(self.path(name + ".qcow2"), os.path.join(self.sr, name + ".qcow2"))
        order = subprocess.Popen([BINARY, "coalesce", self.sr, "--rate", "32M", "--direction", "down", "--json", "--state-dir",
                                  self.path("state"), "--run-dir", self.path("run")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.working()
        self.json("hold", self.sr, aside)  # another chain: the order goes on
        document = json.loads(order.communicate(timeout=LIMIT)[0])
        self.assertEqual(order.returncode, 0)
        self.assertEqual([(step["op"], step["vdi"]) for step in document["done"]], [("collect", garbage), ("coalesce", self.names[1])])
        self.assertTrue(document["done"][1]["resumed"])
        self.assertIn(aside, [entry["vdi"] for entry in document["skipped"]])

    def test_gives_way_also_behind_an_order(self):
        service = self.service("--rate", "4M")
        self.working()
        order = subprocess.Popen([BINARY, "coalesce", self.sr, "--rate", "4M", "--state-dir", self.path("state"), "--run-dir",
                                  self.path("run")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        order.stderr.readline()  # its first step has begun, and the everyday cycle is queued behind it
        answer = service.call(b'{"version":1,"verb":"yield"}\n')
        self.assertEqual(answer["status"], 0)
        self.assertEqual(order.wait(timeout=LIMIT), 6)
        order.stderr.close()
        status = self.wait_status(lambda s: s["state"] == "waiting", "gives way")
        self.assertIn("give way", status["text"])
        self.assertIsNone(status["operation"])
        self.assertEqual(sorted(os.listdir(self.sr)), [name + ".qcow2" for name in self.names])  # nothing was merged meanwhile
        self.unchanged()

    def test_pause_ends_what_is_running(self):
        self.service("--rate", "4M")
        self.working()
        self.json("pause", self.sr)
        self.wait_status(lambda s: s["state"] == "paused" and not s["operation"], "paused")
        self.unchanged()

    def test_a_client_may_hang_up(self):
        self.service("--window", other_window())
        self.wait_status(lambda s: s["state"] == "waiting", "outside the window")
        client = subprocess.Popen([BINARY, "coalesce", self.sr, "--leaf", "--rate", "16M", "--state-dir", self.path("state"), "--run-dir",
                                   self.path("run")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        client.stderr.readline()  # the first step has begun
        client.kill()
        client.wait()
        client.stderr.close()
        self.wait_status(lambda s: s["state"] == "idle" and not s["skipped"], "done")
        self.assertEqual(os.listdir(self.sr), [self.names[2] + ".qcow2"])
        self.unchanged()

    def test_kick_may_be_told_to_stop(self):
        self.service("--rate", "4M")
        self.working()
        client = subprocess.Popen([BINARY, "kick", self.sr, "--wait", "--state-dir", self.path("state"), "--run-dir", self.path("run")],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # It is there once the service has a connection more than those of the tests, which are closed.
        self.wait_connected(client)
        client.send_signal(signal.SIGTERM)
        self.assertEqual(client.wait(timeout=LIMIT), 6)
        status = self.wait_status(lambda s: s["state"] == "waiting", "gives way")
        self.assertIn("give way", status["text"])
        self.unchanged()
        self.json("kick", self.sr)
        self.working()

    def wait_connected(self, client):
        """Until the client has sent its request: it then waits in recvfrom."""
        self.wait_status(lambda s: "socket:" in "".join(
            os.readlink(f"/proc/{client.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{client.pid}/fd")), "connected")

    def test_two_at_a_time(self):
        """Without a service, the second of two verbs says who works."""
        first = subprocess.Popen([BINARY, "coalesce", self.sr, "--leaf", "--rate", "8M", "--state-dir", self.path("state"), "--run-dir",
                                  self.path("run")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        first.stderr.readline()
        for verb in (("coalesce", self.sr), ("collect", self.sr), ("run", self.sr, "--once"), ("pause", self.sr)):
            error = self.error(*verb, status=6)
            self.assertIn(f"coppice coalesce (pid {first.pid})", error["text"])
        self.assertEqual(self.status()["state"], "working")
        first.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(timeout=LIMIT), 6)
        first.stderr.close()
        self.unchanged()

    def test_watchdog_is_fed_while_work_goes_on(self):
        service = self.service("--rate", "4M", watchdog=2)
        self.working()
        service.notify.forget()
        service.notify.wait_for("WATCHDOG=1")
        self.assertTrue(self.status()["operation"])


class Strangers(DemoService):
    """Whoever talks nonsense gets an error, or is cut off, and disturbs nobody."""

    def setUp(self):
        super().setUp()
        self.running = self.service()
        # Its own changes make it look once more.
        self.wait_status(lambda s: s["state"] == "idle" and s["next_cycle"], "at rest")

    def test_nonsense(self):
        for request, word in ((b"nonsense\n", "JSON"), (b"[]\n", "JSON"), (b'{"verb":"status"}\n', "version"),
                              (b'{"version":99,"verb":"status"}\n', "version"), (b'{"version":1}\n', "verb"),
                              (b'{"version":1,"verb":"destroy"}\n', "destroy"), (b'{"version":1,"verb":7}\n', "verb"),
                              (b'{"version":1,"verb":"coalesce","vdis":7}\n', "vdis"), (b'{"version":1,"verb":"release"}\n', "hold"),
                              (b'{"version":1,"verb":"coalesce","direction":"sideways"}\n', "sideways"),
                              (b'{"version":1,"verb":"explain","vdi":"12345678"}\n', "12345678"), (b"\xff\xfe\x00\n", "JSON"),
                              (b'{"version":1,"verb":"coalesce","rate":-1}\n', "rate"), (b"x" * 70000, "64 KiB")):
            with self.subTest(request=request[:40]):
                answer = self.running.call(request)
                self.assertNotEqual(answer["status"], 0)
                self.assertIn(word, answer["error"]["text"])
        self.assertEqual(self.status()["state"], "idle")

    def test_half_a_request(self):
        with self.running.connect() as connection:
            connection.sendall(b'{"version":1,')
        with self.running.connect() as silent:
            self.assertEqual(self.status()["state"], "idle")
            silent.close()

    def test_many(self):
        # An answer has an end before the service has heard that the peer has gone: it closes its side behind that.
        before = self.running.wait_for_sockets(lambda sockets: sockets <= 4)
        connections = [self.running.connect() for _ in range(200)]
        self.assertEqual(self.status()["state"], "idle")
        self.running.wait_for_sockets(lambda sockets: sockets >= 200)
        for connection in connections:
            connection.close()
        for _ in range(50):
            self.running.call(b'{"version":1,"verb":"status"}\n')
        self.running.wait_for_sockets(lambda sockets: sockets <= before)

    def test_one_that_hangs_is_said_to_be_unreachable(self):
        self.running.process.send_signal(signal.SIGSTOP)
        error = self.error("status", status=8)
        self.assertEqual(error["code"], "service-unreachable")
        self.running.process.send_signal(signal.SIGCONT)
        self.wait_status(lambda s: s["state"] == "idle", "idle again")

    def test_the_socket_is_private(self):
        self.assertEqual(os.stat(self.running.socket_path()).st_mode & 0o777, 0o600)


class WithoutDisks(ServiceTest):
    def test_kick_needs_one(self):
        self.assertEqual(self.error("kick", self.sr, status=8)["code"], "service-unreachable")

    def test_all_services(self):
        self.assertEqual(self.json("status")["services"], [])

    def test_an_empty_sr(self):
        shutil.rmtree(self.sr)
        os.mkdir(self.sr)
        self.service()
        status = self.wait_status(lambda s: s["state"] == "idle", "idle")
        self.assertEqual(status["skipped"], [])
        self.assertEqual(len(self.json("status")["services"]), 1)


if __name__ == "__main__":
    unittest.main()
