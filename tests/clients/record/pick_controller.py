#!/usr/bin/env python3
"""Picks the golden frames of the controller out of a recording:  pick_controller.py FRAMES_DIR GOLDEN_DIR   (called by controller.sh)."""
import os, shutil, sys

frames, golden = sys.argv[1:]

# Name, request code, reply code ("-" for one-way), text that the request must contain, text that the reply must contain, and text that it
# must not. The first frame that fits is taken.
FRAMES = [
    ("metadata", 1005, "0", "", "controllerLeaderId", "-"),
    ("next_broker_id", 1012, "0", "", '"nextBrokerId":"1"', "-"),
    ("apply_broker_id", 1013, "0", '"appliedBrokerId":"1"', "", "-"),
    ("register_without_master", 1003, "0", '"brokerId":"1"', "", "masterAddress"),
    ("register_with_master", 1003, "0", '"brokerId":"2"', "masterAddress", "-"),
    ("elect_first", 1002, "0", '"designateElect":"false"', '"masterEpoch":"1"', "-"),
    ("elect_designated", 1002, "0", '"designateElect":"true"', '"masterBrokerId":"2"', "-"),
    ("elect_failed", 1002, "2012", "", "", "-"),
    ("heartbeat", 904, "-", "", "", "-"),
    ("replica_info", 1004, "0", "", "masterAddress", "-"),
    ("alter_sync_state_set", 1001, "0", '"syncStateSet":[1,2]', "", "-"),
    ("sync_state_data", 1006, "0", "", '"inSyncReplicas":[{"alive":true,"brokerAddress":"127.0.0.2:30911","brokerId":1', "-"),
    ("role_changed", 1008, "-", '"masterBrokerId":"2"', "", "-"),
    ("config", 1010, "0", "", "", "-"),
    ("update_config", 1009, "0", "", "", "-"),
    ("update_config_refused", 1009, "16", "", "", "-"),
    ("clean_refused", 1011, "2009", "", "", "-"),
    ("clean", 1011, "0", "", "", "-"),
]


def read(path):
    return open(path, "rb").read() if os.path.exists(path) else b""


rows = [line.split("\t") for line in sorted(open(os.path.join(frames, "index.tsv")).read().splitlines())]
missing = []
for name, code, reply_code, in_request, in_reply, not_in_reply in FRAMES:
    for number, _, row_code, _, _, _, row_reply in rows:
        path = os.path.join(frames, number)
        request, reply = read(path + ".req.bin"), read(path + ".rep.bin")
        if (int(row_code), row_reply) != (code, reply_code) or in_request.encode() not in request or in_reply.encode() not in reply:
            continue
        if not_in_reply != "-" and not_in_reply.encode() in reply:
            continue
        shutil.copy(path + ".req.bin", os.path.join(golden, name + ".req.bin"))
        if reply_code != "-":
            shutil.copy(path + ".rep.bin", os.path.join(golden, name + ".rep.bin"))
        break
    else:
        missing.append(name)
if missing:
    sys.exit("not in the recording: " + ", ".join(missing))
