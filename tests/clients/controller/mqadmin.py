#!/usr/bin/env python3
"""What mqadmin 5.5.0 prints about two brokers of RocketMQ under ringmq's controller, compared with what it printed under RocketMQ's own.

    mqadmin.py DIR RINGMQ [--real]        (JDK, Maven, Python 3)

Compares with mqadmin.expected beside this file, and prints the difference; --real takes RocketMQ's controller and writes the file.
"""
import argparse, difflib, os, re, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import CLUSTER, HERE, NAME, Group, until

parser = argparse.ArgumentParser()
parser.add_argument("dir")
parser.add_argument("ringmq")
parser.add_argument("--base", type=int)
parser.add_argument("--real", action="store_true")
args = parser.parse_args()
# A broker that a busy machine keeps silent for seconds is not dead here: there would be another election.
group = Group(os.path.abspath(args.dir), args.ringmq, 1, 2, not args.real, args.base, silence_ms=60000)
controller = group.controllers[0]
# Of the settings those that both have.
SETTINGS = ("controllerDLegerGroup", "controllerDLegerPeers", "controllerDLegerSelfId", "enableElectUncleanMaster", "notifyBrokerRoleChanged")
# RocketMQ's mqadmin cannot read the reply of RocketMQ's controller to this; ringmq's it can.
ELECTED = ["#ClusterName\tDefaultCluster", "#BrokerName\tbroker-a", "#BrokerMasterAddr\tSECOND", "#MasterEpoch\t2", "#SyncStateSetEpoch\t3"]
printed = []


def mqadmin(*words):
    command = [os.path.join(HERE, "../real-broker/mqadmin.sh"), *words]
    for _ in range(3 if words[0].startswith("get") else 1):
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # mqadmin waits 3 s, which include the start of its own machine: a busy one may ask again.
        if "RemotingTimeoutException" not in run.stdout:
            break
    lines = [line.rstrip() for line in run.stdout.splitlines() if line.strip()]
    # Of an exception its cause; of the settings the common ones.
    lines = [line for line in lines if not line.startswith(("\tat ", "\t...", "org.apache.rocketmq.tools", "For more information"))]
    if words[0] == "getControllerConfig":
        lines = sorted(line for line in lines if line.startswith(SETTINGS) or line.startswith("="))
    printed.append("$ mqadmin " + " ".join(words))
    printed.extend(re.sub(r"^Caused by: [\w.]+: ", "", line) for line in lines)


def set_of(count):
    until(lambda: group.in_sync() == count, 60, "%d in sync" % count)


try:
    group.start(one_by_one=True)
    set_of(2)
    first = group.master()[0]
    mqadmin("getControllerMetaData", "-a", controller)
    mqadmin("getSyncStateSet", "-a", controller, "-b", NAME)
    mqadmin("getSyncStateSet", "-a", controller, "-c", CLUSTER, "-n", group.namesrv)
    mqadmin("electMaster", "-a", controller, "-b", "2", "-bn", NAME, "-c", CLUSTER)
    set_of(2)
    mqadmin("getSyncStateSet", "-a", controller, "-b", NAME)
    mqadmin("electMaster", "-a", controller, "-b", "7", "-bn", NAME, "-c", CLUSTER)
    mqadmin("electMaster", "-a", controller, "-b", "1", "-bn", "nobody", "-c", CLUSTER)
    mqadmin("getControllerConfig", "-a", controller)
    mqadmin("updateControllerConfig", "-a", controller, "-k", "enableElectUncleanMaster", "-v", "true")
    mqadmin("updateControllerConfig", "-a", controller, "-k", "enableElectUncleanMaster", "-v", "false")
    mqadmin("updateControllerConfig", "-a", controller, "-k", "configStorePath", "-v", "/x")
    mqadmin("cleanBrokerMetadata", "-a", controller, "-bn", NAME, "-c", CLUSTER)
    mqadmin("cleanBrokerMetadata", "-a", controller, "-bn", NAME, "-c", CLUSTER, "-b", "1")
    mqadmin("cleanBrokerMetadata", "-a", controller, "-bn", "nobody", "-c", CLUSTER)
    other = group.broker_at(first)
    other.stop()
    set_of(1)
    mqadmin("cleanBrokerMetadata", "-a", controller, "-bn", NAME, "-c", CLUSTER, "-b", "1")
    mqadmin("getSyncStateSet", "-a", controller, "-b", NAME)
finally:
    group.stop()

text = "\n".join(printed) + "\n"
second = next(address for address in group.brokers if address != first)
for address, name in [(first, "FIRST"), (second, "SECOND"), (controller, "CONTROLLER"), (group.namesrv, "NAMESRV")]:
    text = text.replace(address, name)
expected = os.path.join(HERE, "mqadmin.expected")
if args.real:
    open(expected, "w").write(text)
    sys.exit()
lines = open(expected).read().splitlines()
unreadable = next(at for at, line in enumerate(lines) if line.startswith("not support unquoted name"))
lines[unreadable:unreadable + 1] = ELECTED
difference = list(difflib.unified_diff(lines, text.splitlines(), "RocketMQ", "ringmq", lineterm="", n=1))
print("\n".join(difference) if difference else "no difference")
sys.exit(1 if difference else 0)
