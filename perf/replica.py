#!/usr/bin/env python3
"""For perf/replication.sh: what a master says about its slave (907), a replica that costs nothing, and what the kernel takes.

    replica.py follows HOST:PORT          returns when a slave has the whole log; prints how long that took, and how fast it was
    replica.py lag HOST:PORT SECONDS      prints percentiles of the lag: the bytes that are missing, by the rate at which the log grows
    replica.py sink HOST:HA_PORT BYTES    follows a master in the classic protocol and discards what comes, until it has so many bytes:
                                          a slave without a device, and almost without CPU; prints how long that took, and how fast it was
    replica.py floor BYTES COUNT          sends so many batches of so many bytes over the loopback, each answered by 12 bytes, as master and
                                          slave do; prints the CPU of both sides for each 1,280 bytes, a message of 1 KiB in the log
"""
import json, os, resource, socket, struct, sys, time

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


def sink(address, wanted):
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)))
    # It has nothing, and gets all from the beginning of the log.
    sock.sendall(struct.pack(">q", 0))
    space, got, started = memoryview(bytearray(1 << 20)), 0, time.monotonic()
    while got < wanted:
        count = sock.recv_into(space)
        if not count:
            raise SystemExit("the master has closed the connection")
        got += count
    took = time.monotonic() - started
    print("%.2f s, %.0f MiB/s" % (took, got / took / 2**20))


def floor(batch, count):
    def cpu_us():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return (usage.ru_utime + usage.ru_stime) * 1e6

    cores = sorted(os.sched_getaffinity(0))
    messages, listener, (result, done) = batch * count / 1280, socket.create_server(("127.0.0.1", 0)), os.pipe()
    if os.fork() == 0:
        os.sched_setaffinity(0, {cores[-1]})
        slave, _ = listener.accept()
        space, missing, before = memoryview(bytearray(256 << 10)), batch, cpu_us()
        while got := slave.recv_into(space):
            missing -= got
            if missing <= 0:
                slave.sendall(bytes(12))
                missing += batch
        os.write(done, b"%.2f" % ((cpu_us() - before) / messages))
        os._exit(0)
    os.sched_setaffinity(0, {cores[0]})
    master, data = socket.create_connection(listener.getsockname()), bytes(batch)
    before = cpu_us()
    for _ in range(count):
        master.sendall(data)
        master.recv(12)
    own = (cpu_us() - before) / messages
    master.close()
    print("master %.2f, slave %s us/message" % (own, os.read(result, 100).decode()))
    os.wait()


match sys.argv[1]:
    case "follows":
        follows(Master(sys.argv[2]))
    case "lag":
        lag(Master(sys.argv[2]), float(sys.argv[3]))
    case "sink":
        sink(sys.argv[2], int(sys.argv[3]))
    case "floor":
        floor(int(sys.argv[2]), int(sys.argv[3]))
