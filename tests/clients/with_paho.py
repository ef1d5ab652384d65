"""Publish and subscribe through paho-mqtt, in every version."""

import queue
import socket
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
PATIENCE = 30
VERSIONS = {"v3.1": mqtt.MQTTv31, "v3.1.1": mqtt.MQTTv311, "v5": mqtt.MQTTv5}


class Client:
    """A paho client whose callbacks are events in a queue."""

    def __init__(self, name, version, will=None, will_retain=False):
        self.events = queue.Queue()
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=version)
        self.mqtt.on_connect = lambda c, u, flags, reason, p: self.put("connect", reason)
        self.mqtt.on_subscribe = lambda c, u, mid, reasons, p: self.put("subscribe", reasons)
        self.mqtt.on_unsubscribe = lambda c, u, mid, reasons, p: self.put("unsubscribe", reasons)
        self.mqtt.on_disconnect = lambda c, u, flags, reason, p: self.put("disconnect", reason)
        self.mqtt.on_message = lambda c, u, message: self.put("message", message)
        if will:
            self.mqtt.will_set(*will, retain=will_retain)
        self.mqtt.connect("127.0.0.1", PORT)
        self.mqtt.loop_start()
        reason = self.event("connect")
        assert not reason.is_failure, reason

    def put(self, kind, value):
        self.events.put((kind, value))

    def event(self, kind):
        got, value = self.events.get(timeout=PATIENCE)
        assert got == kind, f"expected {kind}, got {got}: {value}"
        return value

    def expect(self, topic, payload, retain=False):
        message = self.event("message")
        got = (message.topic, message.payload, message.retain)
        assert got == (topic, payload, retain), f"expected {(topic, payload, retain)}, got {got}"
        return message

    def subscribe(self, *arguments, **named):
        self.mqtt.subscribe(*arguments, **named)
        reasons = self.event("subscribe")
        assert all(reason == "Granted QoS 0" for reason in reasons), reasons

    def unsubscribe(self, topic):
        self.mqtt.unsubscribe(topic)
        self.event("unsubscribe")

    def publish(self, *arguments, **named):
        self.mqtt.publish(*arguments, **named).wait_for_publish(PATIENCE)

    def stop(self):
        self.mqtt.disconnect()
        reason = self.event("disconnect")
        assert not reason.is_failure, reason
        self.mqtt.loop_stop()

    def cut(self):
        self.mqtt.on_disconnect = None
        self.mqtt.loop_stop()
        self.mqtt.socket().shutdown(socket.SHUT_RDWR)


def publish_and_subscribe(name, version):
    client = Client(f"{name}-a", version)
    client.subscribe([(f"{name}/+/b", 0), (f"{name}/#", 2)])
    # Both match; one copy comes.
    client.publish(f"{name}/a/b", b"\x00\xff")
    client.publish(f"{name}/a", b"")
    client.expect(f"{name}/a/b", b"\x00\xff")
    client.expect(f"{name}/a", b"")
    client.unsubscribe(f"{name}/#")
    client.publish(f"{name}/a", b"unheard")
    client.publish(f"{name}/x/b", b"heard")
    client.expect(f"{name}/x/b", b"heard")
    client.stop()


def retained(name, version):
    client = Client(f"{name}-r", version)
    topic = f"{name}/retained"
    client.publish(topic, b"kept", retain=True)
    client.subscribe(topic)
    client.expect(topic, b"kept", retain=True)
    client.publish(topic, b"", retain=True)
    client.expect(topic, b"")
    client.unsubscribe(topic)
    client.subscribe(topic)
    client.publish(topic, b"nothing before this")
    client.expect(topic, b"nothing before this")
    client.stop()


def will(name, version):
    watcher = Client(f"{name}-w", version)
    topic = f"{name}/will"
    watcher.subscribe(topic)
    Client(f"{name}-m", version, will=(topic, b"unsaid")).stop()
    Client(f"{name}-m", version, will=(topic, b"gone")).cut()
    watcher.expect(topic, b"gone")
    watcher.stop()


def takeover(name, version):
    first = Client(f"{name}-t", version)
    # It would come back at once and take over in its turn.
    first.mqtt.reconnect_delay_set(60, 60)
    second = Client(f"{name}-t", version)
    # Why, paho reads only from a DISCONNECT that has properties too.
    first.event("disconnect")
    first.mqtt.loop_stop()
    second.stop()


def order(name, version):
    client = Client(f"{name}-o", version)
    client.subscribe(f"{name}/order")
    for number in range(2000):
        client.mqtt.publish(f"{name}/order", str(number))
    for number in range(2000):
        client.expect(f"{name}/order", str(number).encode())
    client.stop()


def properties_v5():
    client = Client("properties", mqtt.MQTTv5)
    identifier = Properties(PacketTypes.SUBSCRIBE)
    identifier.SubscriptionIdentifier = 300
    client.subscribe("properties/#", properties=identifier)
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("one", "1"), ("two", "2"), ("one", "3")]
    properties.ContentType = "text/plain"
    properties.CorrelationData = b"\x00\x01"
    client.publish("properties/a", b"x", properties=properties)
    got = client.expect("properties/a", b"x").properties
    assert got.UserProperty == [("one", "1"), ("two", "2"), ("one", "3")], got
    assert got.ContentType == "text/plain" and got.CorrelationData == b"\x00\x01", got
    assert got.SubscriptionIdentifier == [300], got
    client.stop()


def options_v5():
    client = Client("options", mqtt.MQTTv5)
    other = Client("options-other", mqtt.MQTTv5)
    client.subscribe("options/a", options=SubscribeOptions(noLocal=True, retainAsPublished=True))
    client.publish("options/a", b"own")
    other.publish("options/a", b"other", retain=True)
    client.expect("options/a", b"other", retain=True)
    never = SubscribeOptions(retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    client.subscribe("options/+", options=never)
    other.publish("options/a", b"", retain=True)
    client.expect("options/a", b"", retain=True)
    for one in [client, other]:
        one.stop()


for name, version in VERSIONS.items():
    for check in [publish_and_subscribe, retained, will, takeover, order]:
        check(name, version)
        print(f"ok {name} {check.__name__}")
for check in [properties_v5, options_v5]:
    check()
    print(f"ok {check.__name__}")
