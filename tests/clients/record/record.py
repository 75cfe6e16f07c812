#!/usr/bin/env python3
"""A TCP proxy that writes every RocketMQ frame it passes, unchanged, to a file of its own.

    record.py OUT LISTEN=UPSTREAM [LISTEN=UPSTREAM ...]        (addresses as host:port)

Files are named NNNNNN.req.bin and NNNNNN.rep.bin (the reply of request NNNNNN, found by connection and opaque), and
OUT/index.tsv has one line per request: number, who asked (client or server), code, codec, one-way, link (LISTEN), reply code.
Frame: totalLength i32, codec u8, headerLength u24, header, body (see remoting's RemotingCommand).
"""
import asyncio, json, os, struct, sys


class Recorder:
    def __init__(self, out):
        self.out, self.count = out, 0
        os.makedirs(out, exist_ok=True)
        self.index = open(os.path.join(out, "index.tsv"), "w")

    def frame(self, link, waiting, from_client, frame):
        """waiting: requests of this connection that have no reply yet, (asked by client, opaque) -> (number, line)."""
        codec, code, opaque, flag = header(frame)
        if flag & 1:
            number, line = waiting.pop((not from_client, opaque), (None, None))
            if number is not None:
                self.write(number, "rep", frame)
                self.line(line + [code])
            return
        self.count += 1
        number = "%06d" % self.count
        self.write(number, "req", frame)
        line = [number, "client" if from_client else "server", code, codec, "oneway" if flag & 2 else "-", link]
        if flag & 2:
            self.line(line + ["-"])
        else:
            waiting[(from_client, opaque)] = (number, line)

    def write(self, number, kind, frame):
        with open(os.path.join(self.out, "%s.%s.bin" % (number, kind)), "wb") as f:
            f.write(frame)

    def line(self, fields):
        self.index.write("\t".join(map(str, fields)) + "\n")
        self.index.flush()


def header(frame):
    """codec, code, opaque and flag of a whole frame"""
    mark, = struct.unpack_from(">I", frame, 4)
    codec, length = mark >> 24, mark & 0xFFFFFF
    if codec == 0:
        h = json.loads(frame[8:8 + length])
        return "json", h["code"], h["opaque"], h["flag"]
    code, _, _, opaque, flag = struct.unpack_from(">hbhii", frame, 8)
    return "rocketmq", code, opaque, flag


async def pump(reader, writer, seen):
    try:
        while True:
            head = await reader.readexactly(4)
            frame = head + await reader.readexactly(struct.unpack(">I", head)[0])
            seen(frame)
            writer.write(frame)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(recorder, link):
    listen, upstream = (address.rsplit(":", 1) for address in link.split("="))

    async def connection(reader, writer):
        try:
            up_reader, up_writer = await asyncio.open_connection(*upstream)
        except ConnectionError:
            writer.close()
            return
        waiting = {}
        await asyncio.gather(
            pump(reader, up_writer, lambda f: recorder.frame(":".join(listen), waiting, True, f)),
            pump(up_reader, writer, lambda f: recorder.frame(":".join(listen), waiting, False, f)))

    return await asyncio.start_server(connection, listen[0], int(listen[1]))


async def main():
    recorder = Recorder(sys.argv[1])
    servers = [await serve(recorder, link) for link in sys.argv[2:]]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
