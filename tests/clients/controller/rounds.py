#!/usr/bin/env python3
"""Deaths, hangs and partitions under load, with stock Java clients and a ledger.

    rounds.py DIR RINGMQ [--rounds kill,hang,alone,...] [--kinds java|ringmq|ringmq,java,java] [--client 5.5.0|4.9.8|go] [--poll MS] [--real]
              [--brokers 3] [--controllers 3] [--conf name=value,...] [--seconds 15] [--beside]           (root, ip(8), JDK, Maven, Python 3)

Each controller and each broker has a host of its own (hosts.py); the name server and the clients are on another one and reach all of them, if
not said otherwise. In a round, of the master:

    kill         kill -9; it starts again when a message was acknowledged
    hang         SIGSTOP, after --seconds SIGCONT
    alone        nothing passes between it and the other brokers and controllers
    dark         its network cable is pulled: clients do not reach it either
    controllers  nothing passes between it and the controllers; the slaves stay connected
    pair         it and one slave on one side, the other slaves and the controllers on the other
    deaf         it sends, and hears nothing of brokers and controllers
    mute         it hears, and nothing of what it sends to brokers and controllers arrives
    twice        kill -9 of it, and of its successor within 5 s; both start again after 2 s

A producer and a consumer of the stock client, with its default settings (--poll: the interval of their route polls), run all the time; with
--beside the topic has queues on a broker of another name, too. Judged at
the end, by what the last master has:

    lost         acknowledged, and not where it was acknowledged
    gone         delivered to the consumer, and not there any more
    missed       acknowledged, and not delivered
    holes        a queue whose offsets are not 0, 1, 2, ...

Prints a line a round and these four; exits with 1 if one of them is not 0.
"""
import argparse, json, os, signal, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import HERE, NAME, Group, Process, ask, now, stored, until
from hosts import Hosts

TOPIC = "Rounds"
QUEUES = 2


class Clients:
    """The program Failover with one client version, and what it has printed."""

    def __init__(self, group, version, topic=TOPIC, poll=0, options=()):
        os.makedirs(group.dir, exist_ok=True)
        self.path, self.lines, self.rest = os.path.join(group.dir, "clients-%s" % version), [], ""
        command = [os.path.join(HERE, "../java/run.sh"), version, "Failover", "--namesrv", group.namesrv, "--topic", topic, "--poll", str(poll), *options]
        if version == "go":
            command = [os.path.join(HERE, "../go/run.sh"), "-namesrv", group.namesrv, "-failover", topic]
        env = dict(os.environ, TIMEOUT_SECONDS="7200", JAVA_OPTIONS="-Xmx192m")
        self.out = open(self.path, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self.out, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        self.reader = open(self.path)

    def read(self):
        """All lines so far, split."""
        self.rest += self.reader.read()
        *whole, self.rest = self.rest.split("\n")
        for line in whole:
            fields = line.split(" ")
            if len(fields) > 3 and fields[0] in "ADSFG" and len(fields[0]) == 1:
                self.lines.append(fields)
        return self.lines

    def acknowledged(self, since_ms=0):
        """Times at which messages were acknowledged."""
        return [int(line[1]) for line in self.read() if line[0] in "AD" and int(line[1]) >= since_ms]

    def delivered(self, since_ms):
        return [int(line[1]) for line in self.read() if line[0] == "G" and int(line[1]) >= since_ms]

    def say(self, word):
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def stop(self):
        if self.process.poll() is None:
            try:
                self.say("end")
                self.process.wait(20)
            except (OSError, subprocess.TimeoutExpired):
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def build(version):
    """Compiles the clients, which may need the network; an unknown option ends the program at once."""
    command = ["go/run.sh"] if version == "go" else ["java/run.sh", version, "Failover", "--build", "only"]
    subprocess.run([os.path.join(HERE, "..", command[0]), *command[1:]], stdin=subprocess.DEVNULL, capture_output=True)


def create(address, topic, queues):
    ext = {"topic": topic, "defaultTopic": "TBW102", "readQueueNums": queues, "writeQueueNums": queues, "perm": 6, "topicFilterType": "SINGLE_TAG",
           "topicSysFlag": 0, "order": "false"}
    header, _ = ask(address, 17, ext)
    return header is not None and header["code"] == 0


def make_topic(group, topic, queues):
    """On the master; returns when all brokers have it, which brokers of RocketMQ look for every 10 s."""
    until(lambda: create(group.master()[0], topic, queues), 30, "a topic")
    has = lambda address: ('"%s"' % topic).encode() in ask(address, 21)[1]
    until(lambda: all(has(address) for address in group.brokers), 60, "the topic at all brokers", 0.5)


def beside(group):
    """A broker of ringmq alone, with another name and the same topic: clients have another broker to send to."""
    host, port = group.namesrv.split(":")[0], 22000
    conf = ("brokerName=broker-b\nnamesrvAddr=%s\nlistenPort=%d\nbindAddress=%s\nbrokerIP1=%s\nstorePathRootDir=%s\nmappedFileSizeCommitLog=16777216\n"
            "logBufferBytes=16777216\nconsumeQueueMemoryBytes=33554432\nwaitTimeMillsInSendQueue=3000\n" % (group.namesrv, port, host, host, os.path.join(group.dir, "beside/store")))
    command = [group.ringmq, "broker", "--cores", "0", "--config", group.write("beside", conf)]
    group.processes["beside"] = Process(group.dir, "beside", command).start()
    address = "%s:%d" % (host, port)
    until(lambda: create(address, TOPIC, QUEUES), 30, "the broker beside")
    until(lambda: b"broker-b" in ask(group.namesrv, 105, {"topic": TOPIC})[1], 30, "its route")


def unix_ms():
    return int(time.time() * 1000)


class Round:
    def __init__(self, kind, group, seconds):
        self.kind, self.group, self.seconds = kind, group, seconds
        self.address, self.epoch = group.master()
        self.id = group.brokers.index(self.address)
        self.process, self.dead = group.broker_at(self.address), []

    def begin(self):
        hosts, own = self.group.hosts, "b%d" % self.id
        others = ["b%d" % id for id in range(len(self.group.brokers)) if id != self.id]
        controllers = ["k%d" % id for id in range(len(self.group.controllers))]
        if self.kind in ("kill", "twice"):
            self.process.signal(signal.SIGKILL)
            self.dead.append(self.process)
        elif self.kind == "hang":
            self.process.signal(signal.SIGSTOP)
        elif self.kind == "alone":
            hosts.cut([own], others + controllers)
        elif self.kind == "dark":
            hosts.unplug(own)
        elif self.kind == "controllers":
            hosts.cut([own], controllers)
        elif self.kind == "pair":
            hosts.cut([own, others[0]], others[1:] + controllers)
        elif self.kind == "deaf":
            for other in others + controllers:
                hosts.drop(other, own)
        elif self.kind == "mute":
            for other in others + controllers:
                hosts.drop(own, other)
        else:
            raise SystemExit("no round " + self.kind)

    def kill_the_next(self, start):
        """The successor, as soon as there is one, within 5 s."""
        until(lambda: self.group.master()[0] not in (None, self.address), 30, "a successor")
        time.sleep(max(0, 2.5 - (now() - start)))
        successor = self.group.master()[0]
        if successor not in (None, self.address):
            second = self.group.broker_at(successor)
            second.signal(signal.SIGKILL)
            self.dead.append(second)
        time.sleep(2)

    def end(self):
        for process in self.dead:
            process.start()
        if self.kind == "hang":
            self.process.signal(signal.SIGCONT)
        elif self.kind == "dark":
            self.group.hosts.plug("b%d" % self.id)
        else:
            self.group.hosts.heal()


def longest_pause(times, start_ms, end_ms):
    """Of acknowledgements, from the start of the round on."""
    edges = [start_ms, *[at for at in times if start_ms <= at <= end_ms], end_ms]
    return max(b - a for a, b in zip(edges, edges[1:])) / 1000


def play(kind, group, clients, seconds, patience):
    round_ = Round(kind, group, seconds)
    time.sleep(3)
    start, start_ms = now(), unix_ms()
    round_.begin()
    elected = None
    if kind == "twice":
        round_.kill_the_next(start)
        round_.end()
    while True:
        if elected is None and group.master()[0] not in (None, round_.address):
            elected = now() - start
        # One of the new master's, or of the old one if it keeps its role.
        is_served = clients.acknowledged(start_ms + 200) and (elected is not None or now() - start > 8)
        if is_served and (kind in ("kill", "twice") or now() - start > seconds):
            break
        if now() - start > patience:
            raise SystemExit("%s: no message is acknowledged %d s after it; the new master is %s" % (kind, patience, group.master()))
        time.sleep(0.02)
    before = group.master()
    if kind != "twice":
        round_.end()
    back, back_ms = now(), unix_ms()
    until(lambda: group.in_sync() == len(group.brokers), 120, "%s: all brokers are in sync again" % kind)
    whole = now() - back
    until(lambda: clients.acknowledged(unix_ms() - 1000), patience, "%s: messages are acknowledged again" % kind)
    after, times = group.master(), clients.acknowledged(start_ms - 1000)
    failed = sum(line[0] == "F" and int(line[1]) >= start_ms for line in clients.lines)
    print("%-11s elected %s, longest pause of acknowledgements %.2f s, of deliveries %.2f s, after its end %.2f s; %d sends failed; all in sync after %.1f s; "
          "elections afterwards %d" % (kind, "no other" if elected is None else "in %.2f s" % elected, longest_pause(times, start_ms, back_ms),
                                       longest_pause(clients.delivered(start_ms - 1000), start_ms, unix_ms()), longest_pause(times, back_ms, unix_ms()), failed,
                                       whole, after[1] - before[1]), flush=True)


def judge(group, clients):
    """Prints the verdict; whether it is good."""
    address = group.master()[0]
    log = {queue: stored(address, TOPIC, queue)[0] for queue in range(QUEUES)}
    lines = clients.read()
    there = lambda line: log[int(line[4])].get(int(line[5])) == line[2]
    acknowledged = [line for line in lines if line[0] == "A" and line[3] == NAME]
    got = [line for line in lines if line[0] == "G" and line[3] == NAME]
    lost = [line for line in acknowledged if not there(line)]
    gone = [line for line in got if not there(line)]
    delivered = {line[2] for line in got}
    missed = [line for line in acknowledged if line[2] not in delivered]
    holes = [queue for queue, messages in log.items() if sorted(messages) != list(range(len(messages)))]
    failed, other = (sum(line[0] == kind for line in lines) for kind in "FS")
    print("lost %d of %d acknowledged, gone %d of %d delivered, missed %d, holes in %d of %d queues; %d sends failed, %d with another status, %d delivered twice"
          % (len(lost), len(acknowledged), len(gone), len(got), len(missed), len(holes), QUEUES, failed, other, len(got) - len(delivered)), flush=True)
    for name, bad in (("lost", lost), ("gone", gone), ("missed", missed), ("holes", holes)):
        if bad:
            print("%s, for instance %s" % (name, bad[:5]))
    return not (lost or gone or missed or holes)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("ringmq")
    parser.add_argument("--rounds", default="kill,hang,alone,dark,controllers,pair,deaf,mute,twice")
    parser.add_argument("--kinds", default="java")
    parser.add_argument("--controllers", type=int, default=3)
    parser.add_argument("--brokers", type=int, default=3)
    parser.add_argument("--conf", default="")
    parser.add_argument("--client", default="5.5.0")
    parser.add_argument("--poll", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--beside", action="store_true")
    args = parser.parse_args()
    build(args.client)
    names = ["k%d" % id for id in range(args.controllers)] + ["b%d" % id for id in range(args.brokers)]
    hosts = Hosts(names)
    group = Group(os.path.abspath(args.dir), args.ringmq, args.controllers, args.brokers, not args.real, conf=args.conf.replace(",", "\n"),
                  kinds=args.kinds, hosts=hosts)
    clients = None
    try:
        group.start()
        until(lambda: group.in_sync() == args.brokers, 120, "all brokers are in sync")
        until(lambda: group.route() is not None, 60, "there is a route")
        make_topic(group, TOPIC, QUEUES)
        if args.beside:
            beside(group)
        clients = Clients(group, args.client, poll=args.poll)
        until(clients.acknowledged, 60, "a message is acknowledged")
        until(lambda: clients.delivered(0), 60, "a message is delivered")
        # A route poll is due up to 30 s after the new master is known.
        patience = args.seconds + (args.poll or 30000) / 1000 + 60
        for kind in args.rounds.split(","):
            play(kind, group, clients, args.seconds, patience)
        time.sleep(1)
        clients.say("quiet")
        settled = lambda: not {line[2] for line in clients.read() if line[0] == "A"} - {line[2] for line in clients.lines if line[0] == "G"}
        try:
            until(settled, 90, "everything is delivered", 0.5)
        except SystemExit as late:
            print(late)
        if not judge(group, clients):
            sys.exit(1)
    finally:
        if clients:
            clients.stop()
        group.stop()
        hosts.remove()


if __name__ == "__main__":
    main()
