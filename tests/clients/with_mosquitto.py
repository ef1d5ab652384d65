"""Publish and subscribe through mosquitto_pub and mosquitto_sub, in every version."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading

PORT = sys.argv[1]
PATIENCE = 30
VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]


class Subscriber:
    """A mosquitto_sub whose output is read line by line; it is subscribed once this returns."""

    def __init__(self, version, *arguments, fields="%r %t %p"):
        command = ["stdbuf", "-oL", "mosquitto_sub", "-p", PORT, "-V", version, "-d"]
        command += ["-F", "= " + fields, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        line = ""
        while not line.startswith("Subscribed"):
            line = self.line()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def line(self):
        line = self.lines.get(timeout=PATIENCE)
        assert line is not None, "mosquitto_sub has ended"
        return line

    def message(self):
        while True:
            line = self.line()
            if line.startswith("= "):
                return line[2:]

    def expect(self, wanted):
        got = self.message()
        assert got == wanted, f"expected {wanted!r}, got {got!r}"

    def wait_for(self, word):
        while word not in self.line():
            pass

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)


def publish(version, topic, *arguments, **more):
    command = ["mosquitto_pub", "-p", PORT, "-V", version, "-t", topic, *arguments]
    done = subprocess.run(command, timeout=PATIENCE, capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done


def wildcards(version):
    sub = Subscriber(version, "-t", f"{version}/+/temperature", "-t", f"{version}/deep/#")
    publish(version, f"{version}/kitchen/temperature", "-m", "21")
    publish(version, f"{version}/kitchen/humidity", "-m", "60")
    publish(version, f"{version}/deep", "-m", "one")
    publish(version, f"{version}/deep/er/still", "-m", "two")
    sub.expect(f"0 {version}/kitchen/temperature 21")
    sub.expect(f"0 {version}/deep one")
    sub.expect(f"0 {version}/deep/er/still two")
    sub.stop()


def across_versions(version):
    subs = [Subscriber(other, "-t", f"across/{version}") for other in VERSIONS]
    publish(version, f"across/{version}", "-m", "hello")
    for sub in subs:
        sub.expect(f"0 across/{version} hello")
        sub.stop()


def retained(version):
    topic = f"{version}/retained"
    publish(version, topic, "-r", "-m", "one")
    publish(version, topic, "-r", "-m", "two")
    sub = Subscriber(version, "-t", topic)
    sub.expect(f"1 {topic} two")
    publish(version, topic, "-r", "-m", "live")
    sub.expect(f"0 {topic} live")
    publish(version, topic, "-r", "-n")
    sub.expect(f"0 {topic} ")
    sub.stop()
    sub = Subscriber(version, "-t", f"{version}/#")
    publish(version, topic, "-m", "nothing before this")
    sub.expect(f"0 {topic} nothing before this")
    sub.stop()


def will(version):
    topic = f"{version}/will"
    watcher = Subscriber(version, "-t", topic)
    will = ["--will-topic", topic, "--will-payload", "gone"]
    Subscriber(version, "-t", "unused", *will).stop()
    Subscriber(version, "-t", "unused", *will, "--will-retain").kill()
    # The first went with a DISCONNECT and has none, but that on MQTT 5 it asks for it.
    for _ in range(2 if version == "mqttv5" else 1):
        watcher.expect(f"0 {topic} gone")
    publish(version, topic, "-m", "nothing before this")
    watcher.expect(f"0 {topic} nothing before this")
    watcher.stop()
    late = Subscriber(version, "-t", topic)
    late.expect(f"1 {topic} gone")
    late.stop()
    publish(version, topic, "-r", "-n")


def unsubscribe(version):
    a, b = f"{version}/stays", f"{version}/goes"
    sub = Subscriber(version, "-t", a, "-t", b, "-U", b)
    sub.wait_for("received UNSUBACK")
    publish(version, b, "-m", "unheard")
    publish(version, a, "-m", "heard")
    sub.expect(f"0 {a} heard")
    sub.stop()


def large(version):
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(1 << 20).hex().encode())
        file.flush()
        sub = Subscriber(version, "-t", f"{version}/large", "-q", "2")
        publish(version, f"{version}/large", "-q", "2", "-f", file.name)
        wanted = open(file.name).read()
        assert sub.message() == f"0 {version}/large {wanted}", "2 MiB differ"
        sub.stop()


def every_qos(version):
    for qos in "012":
        topic = f"{version}/qos/{qos}"
        sub = Subscriber(version, "-t", topic, "-q", qos, fields="%q %p")
        lines = "".join(f"{number}\n" for number in range(2000))
        publish(version, topic, "-q", qos, "-l", input=lines)
        for number in range(2000):
            sub.expect(f"{qos} {number}")
        sub.stop()


def queued_while_away(version):
    topic = f"{version}/away"
    stays = ["-i", f"{version}-away", "-c", "-q", "2", "-t", topic]
    if version == "mqttv5":
        stays += ["-x", "600"]
    Subscriber(version, *stays).stop()
    lines = [str(number) for number in range(100)]
    publish(version, topic, "-q", "2", "-l", input="\n".join(lines) + "\n")
    sub = Subscriber(version, *stays, fields="%q %p")
    for line in lines:
        sub.expect(f"2 {line}")
    sub.stop()
    # Without -c its session ends.
    Subscriber(version, "-i", f"{version}-away", "-t", "unused").stop()


def shared(version):
    topic = f"{version}/shared"
    subs = [Subscriber(version, "-q", "1", "-t", f"$share/group/{topic}") for _ in range(2)]
    lines = [str(number) for number in range(20)]
    publish(version, topic, "-q", "1", "-l", input="\n".join(lines) + "\n")
    heard = []
    for sub in subs:
        # Each has its turn as often as the other; who begins is the broker's affair.
        got = [sub.message().split() for _ in lines[::2]]
        assert all(one[:2] == ["0", topic] for one in got), got
        mine = [int(number) for _, _, number in got]
        assert mine == sorted(mine), mine
        heard += mine
        sub.stop()
    assert sorted(heard) == list(range(20)), heard


def broker_status(version):
    sub = Subscriber(version, "-t", "$SYS/broker/uptime", "-t", "$SYS/broker/version")
    for _ in range(2):
        retain, topic, *words = sub.message().split()
        known = {"uptime": words[-1:] == ["seconds"], "version": words[:1] == ["wherry"]}
        assert retain == "1" and known[topic.removeprefix("$SYS/broker/")], (topic, words)
    sub.stop()


def properties_v5():
    version = "mqttv5"
    sub = Subscriber(version, "-t", "rich", fields="%C %R %E %P %p")
    arguments = ["-D", "publish", "content-type", "text/plain"]
    arguments += ["-D", "publish", "response-topic", "answer"]
    arguments += ["-D", "publish", "message-expiry-interval", "600"]
    arguments += ["-D", "publish", "user-property", "one", "1"]
    arguments += ["-D", "publish", "user-property", "two", "2"]
    publish(version, "rich", "-m", "text", *arguments)
    sub.expect("text/plain answer 600 one:1 two:2 text")
    sub.stop()


for version in VERSIONS:
    checks = [wildcards, across_versions, retained, will, unsubscribe, large, every_qos]
    for check in [*checks, queued_while_away, shared, broker_status]:
        check(version)
        print(f"ok {version} {check.__name__}")
properties_v5()
print("ok properties_v5")
