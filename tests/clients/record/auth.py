#!/usr/bin/env python3
"""Asks a broker with authentication and authorization what the steps of a file say, and writes the answers behind them.

    auth.py HOST:PORT STEPS OUT

A step is a line of JSON: `as` (user:secret, or absent: unsigned), `code`, `ext` and `body`, and in OUT also `answer` (code, remark, body). The line `{"walk":
"user:secret"}` stands for a step with each request code of src/wire/codes/request.rs, all fields that requests may need, and an empty object as its body; of these only codes and answers are written.
Of OUT the answers of tests/golden/auth are made, from RocketMQ 5.5.0 as README.md there says.
"""
import base64, hashlib, hmac, json, os, re, socket, struct, sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../..")
FIELDS = {
    "topic": "Walked", "consumerGroup": "WalkedGroup", "group": "WalkedGroup", "groupName": "WalkedGroup", "producerGroup": "WalkedGroup",
    "defaultTopic": "TBW102", "defaultTopicQueueNums": "4", "queueId": "0", "sysFlag": "0", "bornTimestamp": "1700000000000", "flag": "0",
    "properties": "", "reconsumeTimes": "0", "unitMode": "false", "batch": "false", "queueOffset": "0", "maxMsgNums": "1", "commitOffset": "0",
    "suspendTimeoutMillis": "0", "subscription": "*", "subVersion": "0", "expressionType": "TAG", "offset": "0", "timestamp": "0",
    "a": "WalkedGroup", "b": "Walked", "c": "TBW102", "d": "4", "e": "0", "f": "0", "g": "1700000000000", "h": "0", "i": "", "j": "0", "k": "false",
    "l": "0", "m": "false", "clientID": "c", "clientId": "c", "msgId": "7F00000100002A9F0000000000000000", "originTopic": "Walked",
    "originMsgId": "x", "delayLevel": "0", "maxReconsumeTimes": "1", "tranStateTableOffset": "0", "commitLogOffset": "0", "commitOrRollback": "8",
    "fromTransactionCheck": "false", "transactionId": "x", "readQueueNums": "4", "writeQueueNums": "4", "perm": "6", "topicFilterType": "SINGLE_TAG",
    "topicSysFlag": "0", "order": "false", "namespace": "n", "key": "k", "value": "v", "brokerName": "broker-x", "brokerAddr": "127.0.0.1:1",
    "clusterName": "other", "haServerAddr": "127.0.0.1:2", "brokerId": "7", "beginTimestamp": "0", "endTimestamp": "0", "maxNum": "1",
    "statsName": "TOPIC_PUT_NUMS", "statsKey": "Walked", "srcGroup": "WalkedGroup", "destGroup": "WalkedGroup", "offline": "true", "isForce": "true",
    "invisibleTime": "1000", "pollTime": "0", "bornTime": "1700000000000", "initMode": "0", "extraInfo": "0 0 0 0 0 broker-a 0 0",
    "filterGroups": "WalkedGroup", "compareGroup": "WalkedGroup", "index": "0", "count": "1", "isOrder": "false", "jstack": "false",
    "username": "walked", "subject": "User:walked", "checkStoreTime": "0", "configType": "1", "masterHaAddress": "127.0.0.1:2",
    "masterFlushOffset": "0", "readable": "true", "recallHandle": "x", "storeTimestamp": "0", "pushReplyMessage": "x", "type": "0",
    "syncStateSetEpoch": "0", "masterEpoch": "0", "controllerName": "x", "brokerControllerIds": "1", "registerCheckCode": "x", "appliedBrokerId": "9",
    "topicWithNamespace": "Walked", "lang": "JAVA",
}


def main():
    address, steps, out = sys.argv[1:]
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)))
    with open(steps) as lines, open(out, "w") as written:
        for line in lines:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            for step in expanded(json.loads(line)):
                step["answer"] = ask(connection, step)
                if "walked" in step:
                    step = {"code": step["code"], "answer": {key: step["answer"][key] for key in ("code", "remark")}}
                written.write(json.dumps(step, ensure_ascii=False) + "\n")


def expanded(step):
    if "walk" not in step:
        return [step]
    text = open(os.path.join(ROOT, "src/wire/codes/request.rs")).read()
    codes = [int(code) for code in re.findall(r"= (\d+),", text)]
    return [{"as": step["walk"], "code": code, "ext": FIELDS, "body": "{}", "walked": True} for code in codes]


def ask(connection, step):
    ext, body = dict(step.get("ext", {})), step.get("body", "").encode()
    if step.get("as"):
        user, secret = step["as"].split(":", 1)
        ext["AccessKey"] = user
        content = "".join(ext[key] for key in sorted(ext)).encode() + body
        ext.setdefault("Signature", base64.b64encode(hmac.new(secret.encode(), content, hashlib.sha1).digest()).decode())
    opaque = ask.opaque = ask.opaque + 1
    header = {"code": step["code"], "language": "JAVA", "version": 513, "opaque": opaque, "flag": 0, "extFields": ext, "serializeTypeCurrentRPC": "JSON"}
    if step.get("bare"):
        del header["extFields"]
    header = json.dumps(header).encode()
    connection.sendall(struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body)
    connection.settimeout(10)
    try:
        while True:
            total, mark = struct.unpack(">II", take(connection, 8))
            rest = take(connection, total - 4)
            length = mark & 0xFFFFFF
            answer = json.loads(rest[:length])
            if answer["flag"] & 1 and answer["opaque"] == opaque:
                return {"code": answer["code"], "remark": answer.get("remark"), "body": rest[length:].decode("utf-8", "replace")}
    except socket.timeout:
        return {"code": None, "remark": "no answer", "body": ""}


ask.opaque = 0


def take(connection, count):
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


if __name__ == "__main__":
    main()
