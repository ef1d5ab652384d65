"""A line to the broker that breaks, again and again, in the middle of whatever passes:

    cutter.py PORT-OF-THE-BROKER

Its own port is the first line of its output. What it does depends on the client identifier and on
how often that client has come, and on nothing else: each time it lets a few KiB more pass, and from
the tenth time on everything.
"""

import asyncio
import collections
import sys

CUTS = 9
times = collections.Counter()


def client_identifier(packet):
    """The client identifier of a CONNECT, for what is connected here comes in one piece."""
    at = 2
    while packet[at - 1] & 0x80:
        at += 1
    at += 2 + int.from_bytes(packet[at : at + 2])
    version = packet[at] & 0x7F
    at += 4
    if version == 5:
        # The properties of clients under test are shorter than 128 bytes.
        at += 1 + packet[at]
    length = int.from_bytes(packet[at : at + 2])
    return packet[at + 2 : at + 2 + length]


class Line:
    def __init__(self, limit):
        self.left = limit
        self.ended = asyncio.Event()

    async def carry(self, reader, writer, first=b""):
        data = first
        try:
            while True:
                passing = data[: self.left]
                self.left -= len(passing)
                writer.write(passing)
                await writer.drain()
                if self.left == 0:
                    break
                data = await reader.read(997)
                if not data:
                    break
        except ConnectionError:
            pass
        self.ended.set()


async def serve(reader, writer):
    first = await reader.read(4096)
    if not first:
        writer.close()
        return
    client = client_identifier(first)
    before = times[client]
    times[client] += 1
    line = Line(1500 + 3001 * before if before < CUTS else 1 << 40)
    to_broker, broker = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    there = asyncio.create_task(line.carry(reader, broker, first))
    back = asyncio.create_task(line.carry(to_broker, writer))
    await line.ended.wait()
    for task in [there, back]:
        task.cancel()
    # What was let pass arrives; then both sides see an end.
    for one in [broker, writer]:
        one.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
