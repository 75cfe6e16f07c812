#!/usr/bin/env python3
"""Picks the golden frames and the golden store out of a recording:  pick.py WORK_DIR GOLDEN_DIR   (called by capture.sh)."""
import os, shutil, sys

work, golden = sys.argv[1:]

# Name, recording (capture.sh: up), part of it (capture.sh: mark), who asked, request code, codec of the request, reply code ("-" for
# one-way), text that the request must contain, text that the reply must contain. The first frame that fits is taken.
FRAMES = [
    ("register_broker", "json", "all", "client", 103, "json", 0, "GoldenTopic", ""),
    ("unregister_broker", "json", "all", "client", 104, "json", 0, "", ""),
    ("route_4_9_3", "json", "4.9.3", "client", 105, "json", 0, "GoldenTopic", ""),
    ("route_4_9_8", "json", "4.9.8", "client", 105, "json", 0, "GoldenTopic", ""),
    ("route_template_4_9_8", "json", "4.9.8", "client", 105, "json", 0, "TBW102", ""),
    ("route_unknown_topic", "json", "4.9.3", "client", 105, "json", 17, "GoldenTopic", ""),
    ("route_5_5_0", "json", "5.5.0", "client", 105, "json", 0, "GoldenTopic", ""),
    ("route_binary", "json", "binary", "client", 105, "rocketmq", 0, "GoldenTopic", ""),
    ("cluster_info", "json", "mqadmin", "client", 106, "json", 0, "", ""),
    ("topic_list", "json", "mqadmin", "client", 206, "json", 0, "", ""),
    ("send_4_9_8", "json", "4.9.8", "client", 310, "json", 0, "", ""),
    ("send", "json", "5.5.0", "client", 310, "json", 0, "", ""),
    ("send_binary", "json", "binary", "client", 310, "rocketmq", 0, "", ""),
    ("send_compressed", "json", "5.5.0", "client", 310, "json", 0, "compressed", ""),
    ("send_wide_properties", "json", "5.5.0", "client", 310, "json", 0, "property-39", ""),
    ("send_properties_too_long", "json", "5.5.0", "client", 310, "json", 13, "too-wide", ""),
    ("send_oneway", "json", "5.5.0", "client", 310, "json", "-", "oneway", ""),
    ("send_batch", "json", "5.5.0", "client", 320, "json", 0, "", ""),
    ("send_back", "json", "5.5.0", "client", 36, "json", 0, "", ""),
    ("heartbeat_4_9_8", "json", "4.9.8", "client", 34, "json", 0, "", ""),
    ("heartbeat_producer", "json", "5.5.0", "client", 34, "json", 0, "golden-all-producer", ""),
    ("heartbeat_consumer", "json", "5.5.0", "client", 34, "json", 0, "%RETRY%GoldenGroup", ""),
    ("heartbeat_binary", "json", "binary", "client", 34, "rocketmq", 0, "", ""),
    ("unregister_client_consumer", "json", "5.5.0", "client", 35, "json", 0, '"GoldenGroup"', ""),
    ("unregister_client_producer", "json", "4.9.8", "client", 35, "json", 0, "GoldenProducer", ""),
    ("notify_consumer_ids_changed", "json", "5.5.0", "server", 40, "json", "-", '"GoldenGroup"', ""),
    ("consumer_list", "json", "5.5.0", "client", 38, "json", 0, '"GoldenGroup"', ""),
    ("lock_batch_mq", "json", "5.5.0", "client", 41, "json", 0, "", ""),
    ("unlock_batch_mq", "json", "5.5.0", "client", 42, "json", 0, "", ""),
    ("pull_found", "json", "5.5.0", "client", 11, "json", 0, "TagA || TagB", "FOUND"),
    ("pull_one", "json", "5.5.0", "client", 11, "json", 0, '"maxMsgNums":"1"', "FOUND"),
    ("pull_by_push_consumer", "json", "5.5.0", "client", 11, "json", 0, '"suspendTimeoutMillis":"15000"', "FOUND"),
    ("pull_parked_then_found", "json", "5.5.0", "client", 11, "json", 0, '"sysFlag":"3"', "key-late"),
    ("pull_held_not_found", "json", "5.5.0", "client", 11, "json", 19, '"suspendTimeoutMillis":"15000"', ""),
    ("pull_not_found", "json", "5.5.0", "client", 11, "json", 19, "GoldenPullGroup", ""),
    ("pull_no_match", "json", "5.5.0", "client", 11, "json", 20, "NoSuchTag", ""),
    ("pull_offset_moved", "json", "5.5.0", "client", 11, "json", 21, "", ""),
    ("query_offset", "json", "5.5.0", "client", 14, "json", 0, "GoldenPullGroup", ""),
    ("query_offset_new_group", "json", "5.5.0", "client", 14, "json", 0, '"GoldenGroup"', ""),
    ("update_offset", "json", "5.5.0", "client", 15, "json", 0, "", ""),
    ("update_offset_oneway", "json", "5.5.0", "client", 15, "json", "-", "", ""),
    ("search_offset", "json", "5.5.0", "client", 29, "json", 0, "", ""),
    ("max_offset", "json", "5.5.0", "client", 30, "json", 0, "", ""),
    ("min_offset", "json", "5.5.0", "client", 31, "json", 0, "", ""),
    ("earliest_store_time", "json", "5.5.0", "client", 32, "json", 0, "", ""),
    ("query_message", "json", "5.5.0", "client", 12, "json", 0, "", ""),
    ("view_message", "json", "5.5.0", "client", 33, "json", 0, "", ""),
    ("update_topic", "json", "mqadmin", "client", 17, "json", 0, "", ""),
    ("delete_topic", "json", "mqadmin", "client", 215, "json", 0, "", ""),
    ("delete_topic_namesrv", "json", "mqadmin", "client", 216, "json", 0, "", ""),
    ("update_subscription_group", "json", "mqadmin", "client", 200, "json", 0, "", ""),
    ("broker_runtime_info", "json", "mqadmin", "client", 28, "json", 0, "", ""),
    ("topic_stats", "json", "mqadmin", "client", 202, "json", 0, "", ""),
    ("consumer_connection", "json", "mqadmin", "client", 203, "json", 0, "", ""),
    ("producer_connection", "json", "mqadmin", "client", 204, "json", 0, "", ""),
    ("consume_stats", "json", "mqadmin", "client", 208, "json", 0, "", ""),
    ("topic_config", "json", "mqadmin", "client", 351, "json", 0, "GoldenTopic", ""),
    ("binary_reply_route", "rocketmq", "binary", "client", 105, "rocketmq", 0, "GoldenTopic", ""),
    ("binary_reply_send", "rocketmq", "binary", "client", 310, "rocketmq", 0, "", ""),
    ("binary_reply_heartbeat", "rocketmq", "binary", "client", 34, "rocketmq", 0, "", ""),
    ("binary_reply_pull_found", "rocketmq", "binary", "client", 11, "rocketmq", 0, "", "FOUND"),
    ("binary_reply_pull_not_found", "rocketmq", "binary", "client", 11, "rocketmq", 19, "", ""),
    ("go_route", "go", "go", "client", 105, "json", 0, "golden", ""),
    ("go_send", "go", "go", "client", 10, "json", 0, "", ""),
    ("go_send_batch", "go", "go", "client", 320, "json", 0, "", ""),
    ("go_heartbeat", "go", "go", "client", 34, "json", 0, "consumerDataSet", ""),
    ("go_consumer_list", "go", "go", "client", 38, "json", 0, "", ""),
    ("go_query_offset", "go", "go", "client", 14, "json", 0, "", ""),
    ("go_pull_found", "go", "go", "client", 11, "json", 0, "", "FOUND"),
]


def recording(broker):
    """The requests of one recording as (number, part, who, code, codec, reply code)."""
    frames = os.path.join(work, broker, "frames")
    marks = [line.split("\t") for line in open(os.path.join(work, broker, "marks.tsv")).read().splitlines()]
    for line in sorted(open(os.path.join(frames, "index.tsv")).read().splitlines()):
        number, who, code, codec, _, _, reply = line.split("\t")
        part = [name for before, name in marks if int(number) > int(before)][-1:]
        yield os.path.join(frames, number), part, who, int(code), codec, reply


def read(path):
    return open(path, "rb").read() if os.path.exists(path) else b""


def pick_frames():
    missing = []
    for name, broker, part, who, code, codec, reply, in_request, in_reply in FRAMES:
        for path, frame_part, *key in recording(broker):
            if key != [who, code, codec, str(reply)] or (part != "all" and frame_part != [part]):
                continue
            if in_request.encode() in read(path + ".req.bin") and in_reply.encode() in read(path + ".rep.bin"):
                shutil.copy(path + ".req.bin", os.path.join(golden, name + ".req.bin"))
                if reply != "-":
                    shutil.copy(path + ".rep.bin", os.path.join(golden, name + ".rep.bin"))
                break
        else:
            missing.append(name)
    return missing


def pick_store():
    """The used part of each file: the zeros behind it are left out."""
    store, out = os.path.join(work, "json/broker/store"), os.path.join(golden, "store")
    for folder in ("commitlog", "config"):
        shutil.rmtree(os.path.join(out, folder), ignore_errors=True)
        os.makedirs(os.path.join(out, folder))
    shutil.rmtree(os.path.join(out, "consumequeue"), ignore_errors=True)

    log = read(os.path.join(store, "commitlog", "0" * 20))
    write(os.path.join(out, "commitlog", "0" * 20), log[:log_end(log)])
    for topic in sorted(os.listdir(os.path.join(store, "consumequeue"))):
        for queue in sorted(os.listdir(os.path.join(store, "consumequeue", topic))):
            entries = read(os.path.join(store, "consumequeue", topic, queue, "0" * 20))
            used = 0
            while int.from_bytes(entries[used + 8:used + 12], "big"):  # size of the record
                used += 20
            os.makedirs(os.path.join(out, "consumequeue", topic, queue))
            write(os.path.join(out, "consumequeue", topic, queue, "0" * 20), entries[:used])
    for name in ("consumerOffset", "topics", "subscriptionGroup", "delayOffset"):
        shutil.copy(os.path.join(store, "config", name + ".json"), os.path.join(out, "config"))
    write(os.path.join(out, "checkpoint"), read(os.path.join(store, "checkpoint")))

    # index file: header 40 B, 5,000,000 hash slots of 4 B, then entries of 20 B (entry 0 is never used)
    name, = os.listdir(os.path.join(store, "index"))
    with open(os.path.join(store, "index", name), "rb") as f:
        head = f.read(40)
        slots = f.read(20_000_000)
        entries = f.read(20 * int.from_bytes(head[36:40], "big"))
    write(os.path.join(out, "index.header"), head)
    write(os.path.join(out, "index.entries"), entries)
    with open(os.path.join(out, "index.slots.tsv"), "w") as f:
        f.write("slot\tentry\n")
        for slot in range(5_000_000):
            entry = slots[4 * slot:4 * slot + 4]
            if any(entry):
                f.write("%d\t%d\n" % (slot, int.from_bytes(entry, "big")))


def log_end(log):
    """Behind the last record: each begins with its total size."""
    end = 0
    while int.from_bytes(log[end:end + 4], "big"):
        end += int.from_bytes(log[end:end + 4], "big")
    return end


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


missing = pick_frames()
pick_store()
if missing:
    sys.exit("not in the recording: " + ", ".join(missing))
