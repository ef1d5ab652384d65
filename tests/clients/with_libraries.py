"""The same checks for every library and every version that it speaks; then all of them together.

    with_libraries.py PORT-OF-THE-BROKER PORT-OF-THE-CUTTER
"""

import asyncio
import itertools
import logging
import os
import sys
import time

from libraries import LIBRARIES, Will

PORT, CUTTER = int(sys.argv[1]), int(sys.argv[2])


class Kind:
    """A library and a version: opens clients with names of their own."""

    def __init__(self, name, version):
        self.library = LIBRARIES[name]
        self.version = version
        self.v5 = version == "5"
        self.name = f"{name}-{version}"

    async def open(self, name, port=PORT, *, stays=False, clean=None, **more):
        """`stays`: the session outlives the connection."""
        if stays:
            clean = bool(clean)
            if self.v5:
                more["expiry"] = 600
        elif clean is None:
            clean = True
        name = f"{self.name}-{name}"
        client = await self.library.open(name, self.version, port, clean=clean, **more)
        client.name = name
        return client


def numbers(count):
    return [b"%d" % number for number in range(count)]


async def expect_all(client, topic, payloads, qos):
    for payload in payloads:
        await client.expect(topic, payload, qos)


async def fence(client, publisher, topic):
    """What `client` gets next is what is published now: nothing else has been waiting."""
    await publisher.publish(topic, b"fence")
    await client.expect(topic, b"fence")


async def close(*clients):
    for client in clients:
        await client.close()


def assert_resumed(kind, client):
    # MQTT 3.1 has no way to say it, and not every library passes it on.
    told = client.session_present
    assert told is None or told == (kind.version != "3.1"), told


async def every_qos_in_bulk(kind):
    subscriber, publisher = await kind.open("bulk-s"), await kind.open("bulk-p")
    for qos in range(3):
        topic = f"{kind.name}/bulk/{qos}"
        assert await subscriber.subscribe(topic, qos) == qos
        payloads = numbers(kind.library.BULK)
        await asyncio.gather(
            publisher.publish_many(topic, payloads, qos),
            expect_all(subscriber, topic, payloads, qos),
        )
        await fence(subscriber, publisher, topic)
    await close(subscriber, publisher)


async def the_lesser_qos(kind):
    client = await kind.open("lesser")
    for asked, sent in itertools.product(range(3), range(3)):
        topic = f"{kind.name}/lesser/{asked}/{sent}"
        assert await client.subscribe(topic, asked) == asked
        await client.publish(topic, b"x", sent)
        await client.expect(topic, b"x", min(asked, sent))
    await client.unsubscribe(f"{kind.name}/lesser/2/2")
    await client.publish(f"{kind.name}/lesser/2/2", b"unheard", 2)
    await fence(client, client, f"{kind.name}/lesser/0/0")
    await close(client)


async def one_copy_of_two_matches(kind):
    client = await kind.open("two")
    topic = f"{kind.name}/two"
    await client.subscribe(f"{topic}/+", 1)
    await client.subscribe(f"{topic}/#", 2)
    await client.publish(f"{topic}/a", b"\0\xff", 2)
    await client.expect(f"{topic}/a", b"\0\xff", 2)
    await client.unsubscribe(f"{topic}/#")
    await client.publish(topic, b"unheard", 1)
    await client.publish(f"{topic}/a", b"", 2)
    await client.expect(f"{topic}/a", b"", 1)
    await close(client)


async def queued_while_away(kind):
    publisher = await kind.open("away-p")
    await close(await kind.open("away"))
    client = await kind.open("away", stays=True)
    assert not client.session_present
    topic = f"{kind.name}/away"
    assert await client.subscribe(topic + "/+", 2) == 2
    await close(client)
    for number in range(100):
        await publisher.publish(f"{topic}/{number % 3}", b"%d" % number, number % 3)
    client = await kind.open("away", stays=True)
    assert_resumed(kind, client)
    # A library may hand over QoS 2 later than QoS 1; there is no order between topics.
    heard = {1: [], 2: []}
    for number in range(100):
        if number % 3:
            got = await client.message()
            assert got.topic == f"{topic}/{got.qos}", got
            heard[got.qos].append(got.payload)
    assert heard == {qos: [b"%d" % number for number in range(qos, 100, 3)] for qos in heard}
    await fence(client, publisher, topic + "/0")
    await close(client)
    client = await kind.open("away", clean=True)
    assert not client.session_present
    await publisher.publish(topic + "/1", b"unheard", 1)
    await client.subscribe(topic + "/fence", 1)
    await fence(client, publisher, topic + "/fence")
    await close(client, publisher)


async def retained(kind):
    client = await kind.open("retained")
    topic = f"{kind.name}/retained"
    for qos in range(3):
        await client.publish(topic, b"%d" % qos, qos, retain=True)
        assert await client.subscribe(topic, 2) == 2
        await client.expect(topic, b"%d" % qos, qos, retain=True)
        await client.publish(topic, b"live", qos, retain=True)
        await client.expect(topic, b"live", qos, retain=False)
        await client.unsubscribe(topic)
    await client.publish(topic, b"", 1, retain=True)
    await client.subscribe(topic, 2)
    await fence(client, client, topic)
    await close(client)


async def wills(kind):
    watcher = await kind.open("will-w")
    topic = f"{kind.name}/will"
    await watcher.subscribe(topic, 2)
    for qos in range(3):
        await close(await kind.open("will", will=Will(topic, b"unsaid", qos)))
        await (await kind.open("will", will=Will(topic, b"gone", qos, qos == 2))).cut()
        await watcher.expect(topic, b"gone", qos)
    late = await kind.open("will-l")
    await late.subscribe(topic, 1)
    await late.expect(topic, b"gone", 1, retain=True)
    await late.publish(topic, b"", retain=True)
    await watcher.expect(topic, b"")
    await close(watcher, late)


async def takeover(kind):
    first = await kind.open("takeover", stays=True)
    topic = f"{kind.name}/takeover"
    await first.subscribe(topic, 1)
    second = await kind.open("takeover", stays=True)
    if kind.library is not LIBRARIES["amqtt"]:
        await asyncio.wait_for(first.closed.wait(), 60)
    assert_resumed(kind, second)
    await second.publish(topic, b"mine", 1)
    await second.expect(topic, b"mine", 1)
    await close(second)
    await close(await kind.open("takeover", clean=True))


async def shared(kind):
    members = [await kind.open(f"share-{number}") for number in range(3)]
    publisher = await kind.open("share-p")
    topic = f"{kind.name}/shared"
    for member in members:
        assert await member.subscribe(f"$share/group/{topic}", 2) == 2
    payloads = numbers(300)
    await publisher.publish_many(topic, payloads, 2)
    heard = []
    for number, member in enumerate(members):
        # Each has its turn as often as the others; who begins is the broker's affair.
        got = [await member.message() for _ in payloads[::3]]
        assert all((one.topic, one.qos, one.retain) == (topic, 2, False) for one in got), got
        mine = [int(one.payload) for one in got]
        assert mine == sorted(mine), mine
        heard += mine
        await member.subscribe(f"{topic}/{number}")
        await fence(member, publisher, f"{topic}/{number}")
    assert sorted(heard) == [int(payload) for payload in payloads], heard
    await close(*members, publisher)


async def large(kind):
    client = await kind.open("large")
    payload = os.urandom(1 << 20)
    for qos in range(3):
        assert await client.subscribe(f"{kind.name}/large", qos) == qos
        await client.publish(f"{kind.name}/large", payload, qos)
        await client.expect(f"{kind.name}/large", payload, qos)
    await close(client)


async def published_over_a_line_that_breaks(kind):
    subscriber = await kind.open("cut-s")
    topic = f"{kind.name}/cut"
    assert await subscriber.subscribe(topic, 2) == 2
    publisher = await kind.open("cut-p", CUTTER, stays=True, back=True)
    payloads = numbers(1000)
    await asyncio.gather(
        publisher.publish_many(topic, payloads, 2),
        expect_all(subscriber, topic, payloads, 2),
    )
    await fence(subscriber, subscriber, topic)
    assert publisher.closed.is_set(), "the line has never broken"
    await close(subscriber, publisher)
    await close(await kind.open("cut-p", clean=True))


async def received_over_a_line_that_breaks(kind):
    topic = f"{kind.name}/torn"
    publisher = await kind.open("torn-p")
    subscriber = await kind.open("torn-s", CUTTER, stays=True, back=True)
    assert await subscriber.subscribe(topic, 2) == 2
    payloads = numbers(1000)
    await asyncio.gather(
        publisher.publish_many(topic, payloads, 2),
        expect_all(subscriber, topic, payloads, 2),
    )
    await publisher.publish(topic, b"fence", 2)
    await subscriber.expect(topic, b"fence", 2)
    assert subscriber.closed.is_set(), "the line has never broken"
    await close(subscriber, publisher)
    await close(await kind.open("torn-s", clean=True))


async def question_and_answer_v5(kind):
    asker, answerer = await kind.open("asker"), await kind.open("answerer")
    question, answer = f"{kind.name}/question", f"{kind.name}/answer"
    await asker.subscribe(answer, 1, identifier=268_435_455)
    await answerer.subscribe(question, 2, identifier=1)
    user = [("a", "1"), ("b", "2"), ("a", "3"), ("", "ü")]
    rich = {"user": user, "correlation": b"\0\xff", "content_type": "text/plain"}
    await asker.publish(question, b"?", 2, response_topic=answer, expiry=600, **rich)
    got = (await answerer.expect(question, b"?", 2)).properties
    assert got["user"] == user and got["content_type"] == "text/plain", got
    assert got["identifiers"] == [1] and 590 <= got["expiry"] <= 600, got
    more = {"correlation": got["correlation"], "user": got["user"]}
    await answerer.publish(got["response_topic"], b"!", 1, **more)
    got = (await asker.expect(answer, b"!", 1)).properties
    assert got["correlation"] == b"\0\xff" and got["user"] == user, got
    assert got["identifiers"] == [268_435_455], got
    await close(asker, answerer)


async def expired_while_away_v5(kind):
    publisher = await kind.open("expired-p")
    client = await kind.open("expired", stays=True)
    topic = f"{kind.name}/expired"
    await client.subscribe(topic, 1)
    await close(client)
    began = time.monotonic()
    await publisher.publish(topic, b"short", 1, expiry=1)
    await publisher.publish(topic, b"long", 1, expiry=600)
    # Nothing tells that a message has expired: time has to pass.
    await asyncio.sleep(1.1)
    client = await kind.open("expired", stays=True)
    left = (await client.expect(topic, b"long", 1)).properties["expiry"]
    assert 600 - (time.monotonic() - began) - 1 <= left <= 599, left
    await close(client, publisher)
    await close(await kind.open("expired", clean=True))


async def delayed_wills_v5(kind):
    watcher = await kind.open("delayed-w")
    topic = f"{kind.name}/delayed"
    await watcher.subscribe(topic, 1)
    late = Will(topic, b"late", 1, delay=600)
    # It is back in time, and nothing is said.
    await (await kind.open("delayed", stays=True, will=late)).cut()
    client = await kind.open("delayed", stays=True, will=Will(topic, b"soon", 1, delay=1))
    await fence(watcher, watcher, topic)
    # It does not come back.
    await client.cut()
    await watcher.expect(topic, b"soon", 1)
    # Its session ends before the delay does.
    await (await kind.open("delayed", stays=True, will=late)).cut()
    await fence(watcher, watcher, topic)
    await close(await kind.open("delayed", clean=True))
    await watcher.expect(topic, b"late", 1)
    await close(watcher)


async def topic_aliases_v5(kind):
    client = await kind.open("alias")
    topic = f"{kind.name}/alias"
    await client.subscribe(topic, 1)
    await client.publish(topic, b"one", 1, alias=7)
    await client.publish("", b"two", 1, alias=7)
    await client.publish("", b"three", 0, alias=7)
    for payload in [b"one", b"two", b"three"]:
        got = await client.expect(topic, payload)
        # Where the client allows it, the broker does the same.
        if hasattr(kind.library, "ALIASES"):
            assert got.properties["alias"] in range(1, kind.library.ALIASES + 1), got
    await close(client)


async def subscription_options_v5(kind):
    client, other = await kind.open("local"), await kind.open("local-o")
    topic = f"{kind.name}/local"
    await client.subscribe(topic, 2, noLocal=True, retainAsPublished=True)
    await client.publish(topic, b"own", 2)
    await other.publish(topic, b"kept", 1, retain=True)
    await client.expect(topic, b"kept", 1, retain=True)
    # 2: no retained messages; 1: only where the subscription is new.
    await client.subscribe(topic, 2, retainHandling=2)
    await client.subscribe(topic, 2, retainHandling=1)
    await fence(client, other, topic)
    await client.unsubscribe(topic)
    await client.subscribe(topic, 0, retainHandling=1)
    await client.expect(topic, b"kept", 0, retain=True)
    await other.publish(topic, b"", 1, retain=True)
    await client.expect(topic, b"")
    await close(client, other)


async def all_together(kinds):
    """Everyone publishes to everyone, each with a library and a version of its own."""
    clients = [await kind.open("together") for kind in kinds]
    for client in clients:
        assert await client.subscribe("together/#", 2) == 2
    for qos in range(3):
        publishing = [
            client.publish_many(f"together/{client.name}", numbers(100), qos) for client in clients
        ]
        await asyncio.gather(*publishing)
        for client in clients:
            heard = {f"together/{other.name}": [] for other in clients}
            for _ in range(100 * len(clients)):
                got = await client.message()
                assert got.qos == qos, got
                heard[got.topic].append(got.payload)
            assert all(one == numbers(100) for one in heard.values()), f"{client.name}: {heard}"
    await close(*clients)


CHECKS = [
    every_qos_in_bulk,
    the_lesser_qos,
    one_copy_of_two_matches,
    queued_while_away,
    retained,
    wills,
    takeover,
    shared,
    large,
]
CHECKS_V5 = [
    question_and_answer_v5,
    expired_while_away_v5,
    delayed_wills_v5,
    topic_aliases_v5,
    subscription_options_v5,
]


def checks_for(kind):
    yield from CHECKS
    if kind.library.COMES_BACK:
        yield published_over_a_line_that_breaks
    if kind.library.REMEMBERS_RECEIVED:
        yield received_over_a_line_that_breaks
    if kind.v5:
        yield from CHECKS_V5


async def main():
    # What they have to say of connections that are cut on purpose.
    logging.disable(logging.CRITICAL)
    kinds = [
        Kind(name, version)
        for name, library in LIBRARIES.items()
        for version in library.VERSIONS
        if len(sys.argv) < 4 or sys.argv[3] in f"{name}-{version}"
    ]
    for kind in kinds:
        for check in checks_for(kind):
            if len(sys.argv) > 4 and sys.argv[4] not in check.__name__:
                continue
            began = time.monotonic()
            try:
                await asyncio.wait_for(check(kind), 120)
            except BaseException:
                print(f"FAILED {kind.name} {check.__name__}")
                raise
            print(f"ok {kind.name} {check.__name__} {time.monotonic() - began:.1f} s", flush=True)
    await all_together(kinds)
    print(f"ok {len(kinds)} kinds all_together")


asyncio.run(main())
