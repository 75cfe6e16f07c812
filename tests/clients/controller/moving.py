#!/usr/bin/env python3
"""A production cluster moves from RocketMQ to ringmq and back, while stock clients produce and consume: the steps of the manual (replication).

    moving.py DIR RINGMQ [--client 5.5.0] [--poll 1000] [--timed]        (JDK, Maven, Python 3)

    RocketMQ master, RocketMQ slave
      the slave is stopped, and ringmq starts on its store, as the slave
      ringmq has everything; the master takes no more messages, and is stopped
    ringmq master
      RocketMQ starts on the old master's store, as the slave
      and the same back

Judged: no acknowledged message is lost, every one is delivered, none is stored twice, what was delayed comes not before its time, and a switch makes
consumers see again only what they had consumed in the seconds before it. A delayed message (--timed: one with a time of its own) comes twice only if it came within the last interval in
which a slave takes over its master's progress: ringmq's each second, RocketMQ's each minute.
"""
import argparse, json, os, signal, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import NAME, Group, Process, ask, free_base, now, stored, until
from rounds import Clients, build, create, unix_ms

TOPIC, QUEUES, LEVEL_MS = "Moving", 2, 10000
# How old a slave's copy of its master's progress may be, and some time for a busy machine.
PROGRESS_MS = {"ringmq": 3000, "java": 65000}


class Pair:
    """Two places: a store and a port each. Either product serves at either of them, as master or as slave."""

    def __init__(self, directory, ringmq):
        self.base = free_base()
        # For the class path, the name server's port and the writing of files.
        self.group = Group(directory, ringmq, 0, 0, base=self.base)
        self.dir, self.ringmq = directory, ringmq
        self.running, self.switches = {}, []
        host, port = self.group.namesrv.split(":")
        self.namesrv = Process(directory, "namesrv", [ringmq, "namesrv", "--port", port, "--bind", host]).start()

    def address(self, place):
        return "127.0.0.1:%d" % (self.base + 100 + 10 * place)

    def start(self, product, place, role):
        port, root = self.base + 100 + 10 * place, os.path.join(self.dir, "place%d" % place)
        os.makedirs(root, exist_ok=True)
        conf = """brokerClusterName=DefaultCluster
brokerName=%s
brokerId=%d
brokerRole=%s
namesrvAddr=%s
listenPort=%d
haListenPort=%d
bindAddress=127.0.0.1
brokerIP1=127.0.0.1
brokerIP2=127.0.0.1
storePathRootDir=%s
storePathCommitLog=%s/commitlog
mappedFileSizeCommitLog=16777216
slaveReadEnable=true
diskMaxUsedSpaceRatio=99
waitTimeMillsInSendQueue=3000
""" % (NAME, 0 if role == "SYNC_MASTER" else 1, role, self.group.namesrv, port, port + 1, root, root)
        name = "%s%d" % (product, place)
        # With inSyncReplicas=2 a master of RocketMQ without a slave answers when its clients have given up.
        if product == "java":
            process = self.group.jvm(name, "", "org.apache.rocketmq.broker.BrokerStartup", conf)
        else:
            conf += "inSyncReplicas=2\nlogBufferBytes=16777216\nconsumeQueueMemoryBytes=33554432\n"
            process = Process(self.dir, name, [self.ringmq, "broker", "--cores", "0", "--config", self.group.write(name, conf)])
        self.running[place] = process.start()
        until(lambda: self.in_route(0 if role == "SYNC_MASTER" else 1) == self.address(place), 60, "%s is in the route as %s" % (name, role))

    def stop(self, place, kills=False):
        process = self.running.pop(place)
        # While RocketMQ stops it goes on to deliver what was delayed, and its port is closed to the slave that asks for its progress.
        if kills:
            process.signal(signal.SIGKILL)
        process.stop()
        until(lambda: self.address(place) not in (self.in_route(0), self.in_route(1)), 60, "it is out of the route")

    def in_route(self, id):
        header, body = ask(self.group.namesrv, 105, {"topic": "TBW102", "acceptStandardJsonOnly": "true"}, timeout=0.5)
        for data in json.loads(body)["brokerDatas"] if header and header["code"] == 0 else []:
            return data["brokerAddrs"].get(str(id))
        return None

    def end(self):
        for process in self.running.values():
            process.stop()
        self.namesrv.stop()

    def log_end(self, place):
        """Where the log of a broker ends: what haStatus (907) of it says."""
        header, body = ask(self.address(place), 907)
        if not header or header["code"] != 0:
            return None
        status = json.loads(body)
        return status["masterCommitLogMaxOffset"] if status.get("master") else status["haClientRuntimeInfo"]["maxOffset"]

    def offsets(self, place):
        return ask(self.address(place), 43)[1]

    def follows(self, master, slave):
        """The slave has the master's whole log."""
        end = self.log_end(master)
        return end is not None and end == self.log_end(slave)

    def close_to_producers(self, place):
        header, _ = ask(self.address(place), 25, {}, b"brokerPermission=4\n")
        if not header or header["code"] != 0:
            raise SystemExit("brokerPermission cannot be changed: %s" % header)

    def reopen(self, place):
        ask(self.address(place), 25, {}, b"brokerPermission=6\n")


def switch(pair, master, slave, product):
    """The slave's place becomes the master's; the old master leaves."""
    started = now()
    pair.close_to_producers(master)
    until(lambda: pair.follows(master, slave), 60, "the slave has all", 0.2)
    # Offsets that consumers commit meanwhile, and what a slave of RocketMQ takes over every 10 s.
    time.sleep(3)
    until(lambda: pair.follows(master, slave), 60, "the slave has all", 0.2)
    pair.stop(master, kills=product == "ringmq")
    pair.switches.append((unix_ms(), PROGRESS_MS[product]))
    pair.stop(slave)
    pair.start(product, slave, "SYNC_MASTER")
    pair.reopen(slave)
    print("%s is the master, %.1f s after the old one took its last message" % (product, now() - started), flush=True)


def run(pair, clients):
    def load(seconds):
        # Without a slave the status is SLAVE_NOT_AVAILABLE.
        stored = lambda: sum(line[0] in "ASD" for line in clients.read())
        before = stored()
        time.sleep(seconds)
        until(lambda: stored() > before + 100, 60, "messages are stored")

    load(5)
    pair.stop(1)
    pair.start("ringmq", 1, "SLAVE")
    until(lambda: pair.follows(0, 1), 60, "ringmq has the whole log")
    print("ringmq follows", flush=True)
    load(3)
    switch(pair, 0, 1, "ringmq")
    load(5)
    pair.start("java", 0, "SLAVE")
    until(lambda: pair.follows(1, 0), 60, "RocketMQ has the whole log")
    print("RocketMQ follows", flush=True)
    # It asks for topics and offsets 60 s after its start for the first time.
    load(75)
    switch(pair, 1, 0, "java")
    load(5)


def judge(pair, clients, master, precision_ms):
    log = {queue: stored(pair.address(master), TOPIC, queue)[0] for queue in range(QUEUES)}
    lines = clients.read()
    places = {}
    for queue, messages in log.items():
        for offset, text in messages.items():
            places.setdefault(text, []).append((queue, offset))
    at = lambda line: (int(line[4]), int(line[5]))
    sent = [line for line in lines if line[0] in "AS"]
    delayed = [line for line in lines if line[0] == "D"]
    got = [line for line in lines if line[0] == "G"]
    delivered, first = {}, {}
    for line in got:
        delivered.setdefault(line[2], set()).add(at(line))
        first.setdefault(line[2], int(line[1]))
    lost = [line for line in sent if at(line) not in places.get(line[2], [])] + [line for line in delayed if line[2] not in places]
    missed = [line for line in sent + delayed if line[2] not in delivered]
    repeated = lambda line: any(end - window <= first.get(line[2], 0) <= end + 1000 for end, window in pair.switches)
    twice = [line for line in sent + delayed if len(places.get(line[2], [])) > 1]
    doubled = [line for line in twice if line[0] != "D" or not repeated(line)]
    early = [line for line in delayed if line[2] in first and first[line[2]] < int(line[1]) - int(line[6]) + LEVEL_MS - precision_ms]
    again = len(got) - len(delivered)
    failed = sum(line[0] == "F" for line in lines)
    print("lost %d, missed %d, stored twice %d, early %d of %d acknowledged, %d of them delayed; %d delayed ones came twice around a switch; %d delivered again; "
          "%d sends failed" % (len(lost), len(missed), len(doubled), len(early), len(sent) + len(delayed), len(delayed), len(twice) - len(doubled), again, failed),
          flush=True)
    for name, bad in (("lost", lost), ("missed", missed), ("stored twice", doubled), ("early", early)):
        if bad:
            print("%s, for instance %s" % (name, bad[:5]))
    # Clients commit every 5 s; three times they lose a broker. A consumer that began again would see thousands.
    return not (lost or missed or doubled or early) and again < len(got) / 4


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("ringmq")
    parser.add_argument("--client", default="5.5.0")
    parser.add_argument("--poll", type=int, default=1000)
    parser.add_argument("--timed", action="store_true")
    args = parser.parse_args()
    build(args.client)
    directory = os.path.abspath(args.dir)
    os.makedirs(directory, exist_ok=True)
    pair, clients = Pair(directory, args.ringmq), None
    try:
        pair.start("java", 0, "SYNC_MASTER")
        pair.start("java", 1, "SLAVE")
        until(lambda: create(pair.address(0), TOPIC, QUEUES), 30, "a topic")
        clients = Clients(pair.group, args.client, TOPIC, args.poll, ["--delayed", "20", "--pause", "20", *(["--timed", str(LEVEL_MS)] if args.timed else ["--level", "3"])])
        until(clients.acknowledged, 60, "a message is acknowledged")
        run(pair, clients)
        clients.say("quiet")
        time.sleep(LEVEL_MS / 1000)
        settled = lambda: not {line[2] for line in clients.read() if line[0] in "ASD"} - {line[2] for line in clients.lines if line[0] == "G"}
        try:
            until(settled, 90, "everything is delivered", 0.5)
        except SystemExit as late:
            print(late)
        # RocketMQ rounds the time of a timed message to seconds, down if little is left.
        if not judge(pair, clients, 0, 500 if args.timed else 1):
            sys.exit(1)
    finally:
        if clients:
            clients.stop()
        pair.end()


if __name__ == "__main__":
    main()
