#!/usr/bin/env python3
"""What a master says about its slave (907), for perf/replication.sh.

    replica.py follows HOST:PORT          returns when a slave has the whole log; prints how long that took, and how fast it was
    replica.py lag HOST:PORT SECONDS      prints percentiles of the lag: the bytes that are missing, by the rate at which the log grows
"""
import json, socket, struct, sys, time

INTERVAL = 0.005


class Master:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.sock = socket.create_connection((host, int(port)), timeout=5)
        self.opaque = 0

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise SystemExit("the master has closed the connection")
            data += part
        return data

    def status(self):
        """End of the log, and what its slave lacks of it; None without a slave."""
        self.opaque += 1
        header = json.dumps({"code": 907, "language": "JAVA", "version": 513, "opaque": self.opaque, "flag": 0, "serializeTypeCurrentRPC": "JSON"}).encode()
        self.sock.sendall(struct.pack(">II", 4 + len(header), len(header)) + header)
        total, = struct.unpack(">I", self.read(4))
        rest = self.read(total)
        status = json.loads(rest[4 + (struct.unpack(">I", rest[:4])[0] & 0xFFFFFF):])
        slaves = [slave for slave in status.get("haConnectionInfo") or [] if slave["slaveAckOffset"] > 0]
        end = status["masterCommitLogMaxOffset"]
        # A slave may have on its disk what the master is still writing.
        return end, (min(max(0, end - slave["slaveAckOffset"]) for slave in slaves) if slaves else None)


def follows(master):
    started, first = time.monotonic(), None
    while True:
        end, missing = master.status()
        took = time.monotonic() - started
        if missing is not None and first is None:
            first = missing
        # With producers at work it is never exactly 0.
        if missing is not None and missing < 1 << 20:
            print("%.2f s for %.2f GiB, %.0f MiB/s" % (took, first / 2**30, first / 2**20 / max(took, 0.001)))
            return
        if took > 600:
            raise SystemExit("the slave does not follow")
        time.sleep(INTERVAL)


def lag(master, seconds):
    time.sleep(1)
    samples, begin, (first, _) = [], time.monotonic(), master.status()
    while time.monotonic() - begin < seconds - 1:
        end, missing = master.status()
        samples.append(missing if missing is not None else end)
        time.sleep(INTERVAL)
    rate = (end - first) / (time.monotonic() - begin)
    samples = sorted(missing / rate * 1000 for missing in samples)
    at = lambda share: samples[min(len(samples) - 1, int(len(samples) * share))]
    print("p50 %.2f ms, p99 %.2f ms, highest %.2f ms (%d samples)" % (at(0.5), at(0.99), samples[-1], len(samples)))


if sys.argv[1] == "follows":
    follows(Master(sys.argv[2]))
else:
    lag(Master(sys.argv[2]), float(sys.argv[3]))
