"""Clients of several libraries under one face, so that every check is written once.

Each has `VERSIONS`, and is opened with `await Library.open(...)`; what it receives waits in
`messages`. `None` from `session_present` says that the library does not tell.
"""

import asyncio
import collections
import contextlib
import dataclasses
import socket

import aiomqtt
import amqtt.client
import gmqtt
import gmqtt.storage
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PATIENCE = 60
WINDOW = 100


@dataclasses.dataclass
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Will:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    delay: int | None = None


class Client:
    VERSIONS = ()
    # Whether it comes back by itself after a cut, and what it then still knows.
    COMES_BACK = False
    REMEMBERS_RECEIVED = False
    BULK = 2000

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.messages = asyncio.Queue()
        self.closed = asyncio.Event()
        self.session_present = None

    async def message(self):
        return await asyncio.wait_for(self.messages.get(), PATIENCE)

    async def expect(self, topic, payload, qos=None, retain=False):
        got = await self.message()
        wanted = (topic, payload, got.qos if qos is None else qos, retain)
        assert (got.topic, got.payload, got.qos, got.retain) == wanted, f"{got} is not {wanted}"
        return got

    async def publish_many(self, topic, payloads, qos):
        """Publishes with as many in flight at once as the library does by itself."""
        ahead = asyncio.Semaphore(WINDOW)

        async def one(payload):
            try:
                await self.publish(topic, payload, qos)
            finally:
                ahead.release()

        tasks = []
        for payload in payloads:
            await ahead.acquire()
            tasks.append(asyncio.create_task(one(payload)))
        await asyncio.gather(*tasks)


def paho_properties(packet, pairs):
    if not any(value is not None for value in pairs.values()):
        return None
    properties = Properties(packet)
    for name, value in pairs.items():
        if value is not None:
            setattr(properties, name, value)
    return properties


def paho_publish_properties(properties):
    names = {
        "user": "UserProperty",
        "response_topic": "ResponseTopic",
        "correlation": "CorrelationData",
        "content_type": "ContentType",
        "expiry": "MessageExpiryInterval",
        "alias": "TopicAlias",
    }
    pairs = {names[name]: value for name, value in properties.items()}
    return paho_properties(PacketTypes.PUBLISH, pairs)


def from_paho(message):
    of = getattr(message, "properties", None)
    known = {
        "user": getattr(of, "UserProperty", []),
        "response_topic": getattr(of, "ResponseTopic", None),
        "correlation": getattr(of, "CorrelationData", None),
        "content_type": getattr(of, "ContentType", None),
        "expiry": getattr(of, "MessageExpiryInterval", None),
        "identifiers": getattr(of, "SubscriptionIdentifier", []),
    }
    payload = bytes(message.payload)
    return Message(str(message.topic), payload, message.qos, bool(message.retain), known)


def will_properties(will):
    return paho_properties(PacketTypes.WILLMESSAGE, {"WillDelayInterval": will.delay})


def granted(reason):
    return getattr(reason, "value", reason)


class Paho(Client):
    VERSIONS = ("3.1", "3.1.1", "5")
    COMES_BACK = True
    REMEMBERS_RECEIVED = True

    @classmethod
    async def open(cls, name, version, port, *, clean=True, expiry=None, will=None, back=False):
        self = cls()
        protocol = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}[version]
        v5 = version == "5"
        self.mqtt = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            name,
            protocol=protocol,
            clean_session=None if v5 else clean,
            reconnect_on_failure=back,
        )
        client.reconnect_delay_set(0.1, 0.1)
        client.max_inflight_messages_set(WINDOW)
        self.done = collections.defaultdict(self.loop.create_future)
        connected = self.loop.create_future()

        def soon(call, *arguments):
            self.loop.call_soon_threadsafe(call, *arguments)

        def on_connect(client, userdata, flags, reason, properties):
            soon(self.on_connect, connected, flags, reason)

        client.on_connect = on_connect
        client.on_message = lambda c, u, m: soon(self.messages.put_nowait, from_paho(m))
        client.on_publish = lambda c, u, mid, r, p: soon(self.finish, mid, r)
        client.on_subscribe = lambda c, u, mid, r, p: soon(self.finish, mid, r)
        client.on_unsubscribe = lambda c, u, mid, r, p: soon(self.finish, mid, r)
        client.on_disconnect = lambda c, u, flags, r, p: soon(self.closed.set)
        if will:
            client.will_set(
                will.topic, will.payload, will.qos, will.retain, will_properties(will)
            )
        more = {}
        if v5:
            session = {"SessionExpiryInterval": expiry}
            more["properties"] = paho_properties(PacketTypes.CONNECT, session)
            # With True, every return would begin anew too.
            more["clean_start"] = mqtt.MQTT_CLEAN_START_FIRST_ONLY if clean else False
        client.connect("127.0.0.1", port, **more)
        client.loop_start()
        await asyncio.wait_for(connected, PATIENCE)
        return self

    def on_connect(self, connected, flags, reason):
        if not connected.done():
            assert not reason.is_failure, reason
            self.session_present = flags.session_present
            connected.set_result(None)

    def finish(self, mid, reasons):
        self.done[mid].set_result(reasons)

    async def answer(self, mid):
        try:
            return await asyncio.wait_for(self.done[mid], PATIENCE)
        finally:
            del self.done[mid]

    async def subscribe(self, topic, qos=0, identifier=None, **options):
        v5 = self.mqtt.protocol == mqtt.MQTTv5
        named = {"qos": qos}
        if v5:
            named = {"options": SubscribeOptions(qos, **options)}
            pair = {"SubscriptionIdentifier": identifier}
            named["properties"] = paho_properties(PacketTypes.SUBSCRIBE, pair)
        result, mid = self.mqtt.subscribe(topic, **named)
        return granted((await self.answer(mid))[0])

    async def unsubscribe(self, topic):
        await self.answer(self.mqtt.unsubscribe(topic)[1])

    async def publish(self, topic, payload, qos=0, retain=False, **properties):
        more = paho_publish_properties(properties)
        info = self.mqtt.publish(topic, payload, qos, retain, more)
        await self.answer(info.mid)

    async def close(self):
        self.mqtt.disconnect()
        await asyncio.wait_for(self.closed.wait(), PATIENCE)
        await asyncio.to_thread(self.mqtt.loop_stop)

    async def cut(self):
        self.mqtt.socket().shutdown(socket.SHUT_RDWR)
        await asyncio.wait_for(self.closed.wait(), PATIENCE)
        await asyncio.to_thread(self.mqtt.loop_stop)


class Aiomqtt(Client):
    VERSIONS = ("3.1", "3.1.1", "5")

    @classmethod
    async def open(cls, name, version, port, *, clean=True, expiry=None, will=None, back=False):
        self = cls()
        V = aiomqtt.ProtocolVersion
        self.v5 = version == "5"
        more = {"clean_session": clean}
        if self.v5:
            session = {"SessionExpiryInterval": expiry}
            more = {
                "clean_start": clean,
                "properties": paho_properties(PacketTypes.CONNECT, session),
            }
        if will:
            of = will_properties(will)
            more["will"] = aiomqtt.Will(will.topic, will.payload, will.qos, will.retain, of)
        self.client = aiomqtt.Client(
            "127.0.0.1",
            port,
            identifier=name,
            protocol={"3.1": V.V31, "3.1.1": V.V311, "5": V.V5}[version],
            timeout=PATIENCE,
            **more,
        )
        # It keeps session present to itself.
        inner = self.client._client
        theirs = inner.on_connect

        def on_connect(client, userdata, flags, reason, properties):
            self.session_present = flags.session_present
            theirs(client, userdata, flags, reason, properties)

        inner.on_connect = on_connect
        inner.max_inflight_messages_set(WINDOW)
        self.client.pending_calls_threshold = 10 * WINDOW
        await self.client.__aenter__()
        self.reader = asyncio.create_task(self.read())
        return self

    async def read(self):
        with contextlib.suppress(aiomqtt.MqttError):
            async for message in self.client.messages:
                self.messages.put_nowait(from_paho(message))
        self.closed.set()

    async def subscribe(self, topic, qos=0, identifier=None, **options):
        named = {"qos": qos}
        if self.v5:
            pair = {"SubscriptionIdentifier": identifier}
            named = {
                "options": SubscribeOptions(qos, **options),
                "properties": paho_properties(PacketTypes.SUBSCRIBE, pair),
            }
        return granted((await self.client.subscribe(topic, **named))[0])

    async def unsubscribe(self, topic):
        await self.client.unsubscribe(topic)

    async def publish(self, topic, payload, qos=0, retain=False, **properties):
        more = paho_publish_properties(properties)
        await self.client.publish(topic, payload, qos, retain, more)

    async def close(self):
        self.reader.cancel()
        await self.client.__aexit__(None, None, None)

    async def cut(self):
        self.client._client.socket().shutdown(socket.SHUT_RDWR)
        await asyncio.wait_for(self.closed.wait(), PATIENCE)
        with contextlib.suppress(aiomqtt.MqttError):
            await self.client.__aexit__(None, None, None)


class Gmqtt(Client):
    VERSIONS = ("3.1.1", "5")
    COMES_BACK = True
    ALIASES = 10

    @classmethod
    async def open(cls, name, version, port, *, clean=True, expiry=None, will=None, back=False):
        self = cls()
        more = {}
        if version == "5":
            more["topic_alias_maximum"] = cls.ALIASES
        if expiry is not None:
            more["session_expiry_interval"] = expiry
        if will:
            delay = {} if will.delay is None else {"will_delay_interval": will.delay}
            more["will_message"] = gmqtt.Message(
                will.topic, will.payload, will.qos, will.retain, **delay
            )
        self.waiting = gmqtt.storage.PersistentStorage()
        self.client = client = gmqtt.Client(
            name, clean_session=clean, persistent_storage=self.waiting, **more
        )
        # Its own way of asking for no retries, 0, still allows the first.
        client.set_config({"reconnect_delay": 0, "reconnect_retries": -1 if back else -2})
        self.done = collections.defaultdict(self.loop.create_future)

        def on_connect(client, flags, reason, properties):
            if self.session_present is None:
                self.session_present = bool(flags)

        def on_message(client, topic, payload, qos, properties):
            self.messages.put_nowait(cls.message_of(topic, payload, qos, properties))
            return 0

        client.on_connect = on_connect
        client.on_message = on_message
        client.on_subscribe = lambda c, mid, qos, p: self.done[mid].set_result(qos)
        client.on_unsubscribe = lambda c, mid, qos: self.done[mid].set_result(qos)
        client.on_disconnect = lambda c, packet, error=None: self.closed.set()
        protocol = {"3.1.1": gmqtt.constants.MQTTv311, "5": gmqtt.constants.MQTTv50}[version]
        connecting = client.connect("127.0.0.1", port, version=protocol)
        await asyncio.wait_for(connecting, PATIENCE)
        return self

    @staticmethod
    def message_of(topic, payload, qos, of):
        known = {
            "user": of.get("user_property", []),
            "response_topic": of.get("response_topic", [None])[0],
            "correlation": of.get("correlation_data", [None])[0],
            "content_type": of.get("content_type", [None])[0],
            "expiry": of.get("message_expiry_interval", [None])[0],
            "identifiers": of.get("subscription_identifier", []),
            "alias": of.get("topic_alias", [None])[0],
        }
        return Message(topic, bytes(payload), qos, bool(of["retain"]), known)

    async def answer(self, mid):
        try:
            return await asyncio.wait_for(self.done[mid], PATIENCE)
        finally:
            del self.done[mid]

    async def subscribe(self, topic, qos=0, identifier=None, **options):
        more = {} if identifier is None else {"subscription_identifier": identifier}
        names = {
            "noLocal": "no_local",
            "retainAsPublished": "retain_as_published",
            "retainHandling": "retain_handling_options",
        }
        more.update({names[name]: value for name, value in options.items()})
        return (await self.answer(self.client.subscribe(topic, qos=qos, **more)))[0]

    async def unsubscribe(self, topic):
        await self.answer(self.client.unsubscribe(topic))

    def send(self, topic, payload, qos=0, retain=False, **properties):
        names = {
            "user": "user_property",
            "correlation": "correlation_data",
            "expiry": "message_expiry_interval",
            "alias": "topic_alias",
        }
        more = {names.get(name, name): value for name, value in properties.items()}
        self.client.publish(topic, payload, qos=qos, retain=retain, **more)

    async def publish(self, topic, payload, qos=0, retain=False, **properties):
        self.send(topic, payload, qos, retain, **properties)
        await asyncio.wait_for(self.waiting.wait_empty(), PATIENCE)

    async def publish_many(self, topic, payloads, qos):
        # It has no window of its own, and tells only when nothing waits any more.
        for number, payload in enumerate(payloads):
            self.send(topic, payload, qos)
            if number % WINDOW == WINDOW - 1:
                await asyncio.wait_for(self.waiting.wait_empty(), PATIENCE)
        await asyncio.wait_for(self.waiting.wait_empty(), PATIENCE)

    async def close(self):
        await self.client.disconnect()

    async def cut(self):
        self.client._connection._transport.abort()
        await asyncio.wait_for(self.closed.wait(), PATIENCE)


class Amqtt(Client):
    VERSIONS = ("3.1.1",)
    BULK = 500

    @classmethod
    async def open(cls, name, version, port, *, clean=True, expiry=None, will=None, back=False):
        self = cls()
        config = {"auto_reconnect": False, "keep_alive": 60}
        if will:
            config["will"] = {
                "topic": will.topic,
                "message": will.payload.decode(),
                "qos": will.qos,
                "retain": will.retain,
            }
        self.client = amqtt.client.MQTTClient(name, config)
        await self.client.connect(f"mqtt://127.0.0.1:{port}/", cleansession=clean)
        self.reader = asyncio.create_task(self.read())
        return self

    async def read(self):
        while True:
            got = await self.client.deliver_message()
            if got is None:
                break
            message = Message(got.topic, bytes(got.data), got.qos, bool(got.retain))
            self.messages.put_nowait(message)

    async def subscribe(self, topic, qos=0):
        return (await self.client.subscribe([(topic, qos)]))[0]

    async def unsubscribe(self, topic):
        await self.client.unsubscribe([topic])

    async def publish(self, topic, payload, qos=0, retain=False):
        await self.client.publish(topic, payload, qos, retain)

    async def close(self):
        self.reader.cancel()
        await self.client.disconnect()

    async def cut(self):
        self.reader.cancel()
        self.client._handler.writer._writer.transport.abort()


LIBRARIES = {"paho": Paho, "aiomqtt": Aiomqtt, "gmqtt": Gmqtt, "amqtt": Amqtt}
