#!/usr/bin/env python3
"""Brokers under ringmq's controllers (or RocketMQ's): deaths and hangs under load, with a ledger.

    failover.py DIR RINGMQ [--rounds kill,hang,both,kill] [--controllers 3] [--brokers 3] [--real] [--kinds java,ringmq,ringmq] [--users]

A broker is RocketMQ's own 5.5.0 unless --kinds says otherwise. With --real or a broker of RocketMQ it needs a JDK and Maven.

Rounds: kill     kill -9 of the master
        hang     SIGSTOP of the master for 20 s, then SIGCONT
        both     kill -9 of the leading controller and of the master at once
        frozen   SIGSTOP of the leading controller and kill -9 of the master at once; SIGCONT at the end
        away     kill -9 of all controllers and of the master; the controllers return after 3 s
For each: until another master is elected, until the name server knows it, until the next message is acknowledged (a client that follows the
route at once), until all replicas are in sync again. At the end every acknowledged message must be where it was acknowledged.
Prints a line a round, `lost N of M`, and exits with 1 if N is not 0. --real takes RocketMQ's own controllers, for comparison.
"""
import argparse, os, signal, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import CLUSTER, NAME, Group, Sender, ask, now, until

parser = argparse.ArgumentParser()
parser.add_argument("dir")
parser.add_argument("ringmq")
parser.add_argument("--rounds", default="kill,hang,both,kill")
parser.add_argument("--controllers", type=int, default=3)
parser.add_argument("--brokers", type=int, default=3)
parser.add_argument("--base", type=int)
parser.add_argument("--conf", default="")
parser.add_argument("--real", action="store_true")
parser.add_argument("--kinds", help="java or ringmq, one for each broker")
parser.add_argument("--users", action="store_true", help="the controllers ask for credentials")
args = parser.parse_args()
group = Group(os.path.abspath(args.dir), args.ringmq, args.controllers, args.brokers, not args.real, args.base, args.conf.replace(",", "\n"),
              kinds=args.kinds or "java", users=args.users)


def load(sender, seconds):
    end = now() + seconds
    while now() < end:
        sender.send()
        time.sleep(0.005)


def round_of(kind, sender):
    address, epoch = group.master()
    master, leader = group.broker_at(address), group.leader()
    load(sender, 2)
    start = now()
    leading = group.processes["controller%d" % leader]
    controllers = [group.processes["controller%d" % id] for id in range(args.controllers)]
    if kind in ("both", "frozen"):
        leading.signal(signal.SIGKILL if kind == "both" else signal.SIGSTOP)
    if kind == "away":
        for controller in controllers:
            controller.signal(signal.SIGKILL)
    master.signal(signal.SIGSTOP if kind == "hang" else signal.SIGKILL)
    times = {}
    if kind == "away":
        time.sleep(3)
        for controller in controllers:
            controller.start()

    def passed(name, is_so):
        if name not in times and is_so():
            times[name] = now() - start

    def is_elected():
        other, newer = group.master()
        return other not in (None, address) and newer > epoch

    is_stopped = kind == "hang"
    while len(times) < 3:
        passed("elected", is_elected)
        passed("route", lambda: group.route() not in (None, address))
        if "elected" in times and sender.address == address:
            sender.close()
        passed("acknowledged", lambda: sender.send() and sender.address != address)
        if now() - start > 90:
            raise SystemExit("%s: not within 90 s; reached %s" % (kind, times))
    if is_stopped:
        load(sender, max(0, 20 - (now() - start)))
        before = group.master()
        master.signal(signal.SIGCONT)
    else:
        before = group.master()
        master.start()
    if kind == "both":
        leading.start()
    if kind == "frozen":
        leading.signal(signal.SIGCONT)
    back = now()
    # A demoted broker of RocketMQ may be taken for the master's replication address by a third one, for as long as its name server has it.
    while group.in_sync() < args.brokers and now() - back < 120:
        sender.send()
    is_whole = group.in_sync() == args.brokers
    whole = "all in sync %.1f s after its return" % (now() - back) if is_whole else "not all in sync 120 s after its return"
    after = group.master()
    print("%-6s elected %.2f s, route %.2f s, acknowledged %.2f s; %s; elections afterwards: %d"
          % (kind, times["elected"], times["route"], times["acknowledged"], whole, after[1] - before[1]), flush=True)


try:
    started = now()
    group.start()
    until(lambda: group.in_sync() == args.brokers, 120, "all brokers are in sync")
    until(lambda: group.route() is not None, 60, "there is a route")
    print("%d brokers in sync %.1f s after their start" % (args.brokers, now() - started), flush=True)
    if args.users:
        elect = {"clusterName": CLUSTER, "brokerName": NAME, "brokerId": 2, "designateElect": "true"}
        header, _ = ask(group.controllers[group.leader()], 1002, elect)
        assert header["code"] == 16, header
    sender = Sender(group, "Ledger")
    until(sender.send, 60, "a message is acknowledged")
    for kind in args.rounds.split(","):
        round_of(kind, sender)
    load(sender, 1)
    stored, last = sender.stored()
    lost = [text for text, offset in sender.acknowledged.items() if stored.get(offset) != text]
    print("lost %d of %d acknowledged" % (len(lost), len(sender.acknowledged)), flush=True)
    if lost:
        print("for instance %s; the master has %d messages, the last answer was %s" % (lost[:5], len(stored), last))
        sys.exit(1)
finally:
    group.stop()
