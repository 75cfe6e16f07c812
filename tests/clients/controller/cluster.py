"""Processes of a replicated group, and raw requests to them: controllers, a name server, and brokers in controller mode, RocketMQ's or ringmq's."""
import base64, hmac, json, os, random, re, signal, socket, struct, subprocess, time

HERE = os.path.dirname(os.path.abspath(__file__))
NAME, CLUSTER = "broker-a", "DefaultCluster"
OPAQUE = 0


def now():
    return time.monotonic()


def frame(code, ext, body=b"", flag=0):
    global OPAQUE
    OPAQUE += 1
    header = {"code": code, "language": "JAVA", "version": 513, "opaque": OPAQUE, "flag": flag, "serializeTypeCurrentRPC": "JSON",
              "extFields": {key: str(value) for key, value in ext.items()}}
    header = json.dumps(header).encode()
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def read_frame(sock):
    total, = struct.unpack(">I", read_exactly(sock, 4))
    rest = read_exactly(sock, total)
    length = struct.unpack(">I", rest[:4])[0] & 0xFFFFFF
    return json.loads(rest[4:4 + length]), rest[4 + length:]


def connect(address, timeout):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=timeout)


def ask(address, code, ext=None, body=b"", timeout=2.0):
    """Header and body of the answer, or None and nothing."""
    try:
        with connect(address, timeout) as sock:
            sock.sendall(frame(code, ext or {}, body))
            return read_frame(sock)
    except (OSError, ValueError):
        return None, b""


# What brokers and controllers prove themselves with, if the group has users.
KEY, SECRET = "inner", "inner-secret"
CREDENTIALS = 'innerClientAuthenticationCredentials={"accessKey":"%s","secretKey":"%s"}\n' % (KEY, SECRET)


def signed(ext, body):
    """The fields of a request with those that sign it."""
    ext = dict({key: str(value) for key, value in ext.items()}, AccessKey=KEY)
    content = "".join(ext[key] for key in sorted(ext)).encode() + body
    return dict(ext, Signature=base64.b64encode(hmac.new(SECRET.encode(), content, "sha1").digest()).decode())


class Process:
    def __init__(self, directory, name, command, env=None, host=()):
        """`host` is what comes in front of a command that runs on another host (hosts.py)."""
        self.name, self.dir = name, os.path.join(directory, name)
        command = [*host, *command]
        os.makedirs(os.path.join(self.dir, "home/conf"), exist_ok=True)
        self.command, self.env, self.process = command, dict(os.environ, **(env or {})), None

    def start(self):
        out = open(os.path.join(self.dir, "out"), "ab")
        self.process = subprocess.Popen(self.command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.env, start_new_session=True)
        return self

    def signal(self, number):
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Group:
    """Controllers, a name server of ringmq, and brokers of one name: on one host at several ports, or on hosts of their own."""

    def __init__(self, directory, ringmq, controllers=3, brokers=3, own_controller=True, base=None, conf="", silence_ms=None, kinds="java", hosts=None, users=False):
        """`kinds`: java or ringmq of each broker, separated by commas; the last one is that of all others, too. `hosts`: see hosts.py; the
        controllers are on k0, k1, ..., the brokers on b0, b1, ..., the name server is here. `users`: ringmq's controllers ask for credentials."""
        self.dir, self.ringmq, self.hosts, self.users = directory, ringmq, hosts, users
        base = base or (21000 if hosts else free_base())
        host = (lambda name: hosts.addresses[name]) if hosts else (lambda name: "127.0.0.1")
        self.namesrv = "%s:%d" % (host(""), base)
        self.controllers = ["%s:%d" % (host("k%d" % id), base + 10 + id) for id in range(controllers)]
        self.brokers = ["%s:%d" % (host("b%d" % id), base + 100 + 10 * id) for id in range(brokers)]
        self.peers = ";".join("n%d-%s" % entry for entry in enumerate(self.controllers))
        self.own_controller, self.conf, self.silence_ms = own_controller, conf, silence_ms
        kinds = kinds.split(",")
        self.kinds = [kinds[min(id, len(kinds) - 1)] for id in range(brokers)]
        self.processes = {}
        if own_controller and brokers and "java" not in self.kinds:
            return
        text = subprocess.run(["bash", "-c", '. "%s/../real-broker/env.sh"; printf "%%s\\n%%s\\n%%s" "$java" "$CP" "$OPENS"' % HERE],
                              capture_output=True, text=True, check=True).stdout.split("\n", 2)
        self.java, self.class_path, self.opens = text[0], text[1], text[2].split()

    def on(self, host):
        return self.hosts.command(host) if self.hosts else ()

    def jvm(self, name, host, start_class, conf, heap="-Xmx512m"):
        home = os.path.join(self.dir, name, "home")
        command = [self.java, heap, "-XX:MaxDirectMemorySize=256m", *self.opens, "-Duser.home=" + home, "-XX:+UseSerialGC", "-XX:-UsePerfData",
                   "-cp", self.class_path, start_class, "-c", self.write(name, conf)]
        return Process(self.dir, name, command, {"ROCKETMQ_HOME": home}, self.on(host))

    def write(self, name, text):
        os.makedirs(os.path.join(self.dir, name), exist_ok=True)
        path = os.path.join(self.dir, name, "conf")
        open(path, "w").write(text)
        return path

    def controller_conf(self, id):
        # Of ringmq's alone, and unknown to RocketMQ's.
        silence = "ringmqBrokerSilenceLimitMillis=%d\n" % self.silence_ms if self.silence_ms and self.own_controller else ""
        users = "authenticationEnabled=true\n" + CREDENTIALS if self.users else ""
        return silence + users + ("controllerDLegerGroup=group1\ncontrollerDLegerPeers=%s\ncontrollerDLegerSelfId=n%d\ncontrollerStorePath=%s\nbindAddress=%s\n"
                "mappedFileSize=16777216\n" % (self.peers, id, os.path.join(self.dir, "controller%d" % id, "store"), self.controllers[id].split(":")[0]))

    def broker_conf(self, id):
        (host, port), root = self.brokers[id].split(":"), os.path.join(self.dir, "broker%d" % id, "store")
        ours = "logBufferBytes=16777216\nconsumeQueueMemoryBytes=33554432\n" if self.kinds[id] == "ringmq" else ""
        return ours + (self.broker_users(root) if self.users else "") + """brokerClusterName=%s
brokerName=%s
brokerId=-1
brokerRole=SLAVE
enableControllerMode=true
controllerAddr=%s
namesrvAddr=%s
listenPort=%s
haListenPort=%d
bindAddress=%s
brokerIP1=%s
brokerIP2=%s
storePathRootDir=%s
storePathCommitLog=%s/commitlog
mappedFileSizeCommitLog=16777216
allAckInSyncStateSet=true
minInSyncReplicas=1
diskMaxUsedSpaceRatio=99
waitTimeMillsInSendQueue=3000
%s""" % (CLUSTER, NAME, ";".join(self.controllers), self.namesrv, port, int(port) + 1, host, host, host, root, root, self.conf)

    def broker_users(self, root):
        # RocketMQ's has to have a place for the user that it is itself.
        return CREDENTIALS + ("authConfigPath=%s/auth\nauthenticationMetadataProvider="
                              "org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider\n" % root)

    def start(self, one_by_one=False):
        host, port = self.namesrv.split(":")
        self.processes["namesrv"] = Process(self.dir, "namesrv", [self.ringmq, "namesrv", "--port", port, "--bind", host]).start()
        for id in range(len(self.controllers)):
            name, host = "controller%d" % id, "k%d" % id
            if self.own_controller:
                command = [self.ringmq, "controller", "-c", self.write(name, self.controller_conf(id))]
                process = Process(self.dir, name, command, host=self.on(host))
            else:
                process = self.jvm(name, host, "org.apache.rocketmq.controller.ControllerStartup", self.controller_conf(id), "-Xmx384m")
            self.processes[name] = process.start()
        until(lambda: self.leader() is not None, 60, "a controller leads")
        for id in range(len(self.brokers)):
            if one_by_one and id > 0:
                until(lambda: self.in_sync() == id, 60, "%d in sync" % id)
            self.processes["broker%d" % id] = self.broker(id).start()

    def broker(self, id):
        name, host = "broker%d" % id, "b%d" % id
        if self.kinds[id] == "java":
            return self.jvm(name, host, "org.apache.rocketmq.broker.BrokerStartup", self.broker_conf(id))
        core = id % (os.cpu_count() or 1)
        command = [self.ringmq, "broker", "--config", self.write(name, self.broker_conf(id)), "--cores", str(core)]
        return Process(self.dir, name, command, host=self.on(host))

    def stop(self):
        for name in sorted(self.processes):  # brokers first
            self.processes[name].stop()

    def leader(self):
        """Number of the controller that says it leads."""
        for id, address in enumerate(self.controllers):
            header, _ = self.ask_controller(address, 1005)
            if header and header.get("extFields", {}).get("isLeader") == "true":
                return id
        return None

    def ask_controller(self, address, code, ext=None, body=b""):
        return ask(address, code, signed(ext or {}, body) if self.users else ext, body, timeout=0.5)

    def ask_leader(self, code, ext=None, body=b""):
        for address in self.controllers:
            header, answer = self.ask_controller(address, code, ext, body)
            if header and header["code"] == 0:
                return header, answer
        return None, b""

    def master(self):
        """Address of the master and its epoch, or None and the epoch."""
        header, _ = self.ask_leader(1004, {"brokerName": NAME})
        if not header:
            return None, 0
        fields = header["extFields"]
        return fields.get("masterAddress") or None, int(fields["masterEpoch"])

    def in_sync(self):
        _, body = self.ask_leader(1006, {}, json.dumps([NAME]).encode())
        table = json.loads(body)["replicasInfoTable"] if body else {}
        return len(table[NAME]["inSyncReplicas"]) if NAME in table else 0

    def route(self):
        """Address of the broker with id 0, as the name server gives it."""
        header, body = ask(self.namesrv, 105, {"topic": "TBW102", "acceptStandardJsonOnly": "true"}, timeout=0.5)
        if not header or header["code"] != 0:
            return None
        for data in json.loads(body)["brokerDatas"]:
            if "0" in data["brokerAddrs"]:
                return data["brokerAddrs"]["0"]
        return None

    def broker_at(self, address):
        return self.processes["broker%d" % self.brokers.index(address)]


class Sender:
    """Sends to the broker that the route names as master, one message after the other, and notes what was acknowledged."""

    def __init__(self, group, topic):
        self.group, self.topic, self.acknowledged, self.next = group, topic, {}, 0
        self.sock, self.address = None, None

    def send(self):
        text = "id-%08d;" % self.next
        self.next += 1
        ext = {"a": "g", "b": self.topic, "c": "TBW102", "d": 1, "e": 0, "f": 0, "g": int(time.time() * 1000), "h": 0, "i": "", "j": 0, "k": "false", "m": "false"}
        try:
            if self.sock is None:
                self.address = self.group.route()
                if self.address is None:
                    return False
                self.sock = connect(self.address, 1)
                self.sock.settimeout(1)
            self.sock.sendall(frame(310, ext, text.encode()))
            header, _ = read_frame(self.sock)
        except (OSError, ValueError):
            self.close()
            return False
        if header["code"] == 0:
            self.acknowledged[text] = int(header["extFields"]["queueOffset"])
            return True
        self.close()
        return False

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def stored(self):
        """The texts of all messages of the topic's queue, by offset, as the master gives them."""
        return stored(self.group.master()[0], self.topic, 0)


def stored(address, topic, queue):
    """The texts of all messages of a queue, by offset, and the last answer."""
    found, offset = {}, 0
    while True:
        ext = {"consumerGroup": "judge", "topic": topic, "queueId": queue, "queueOffset": offset, "maxMsgNums": 32, "sysFlag": 4,
               "commitOffset": 0, "suspendTimeoutMillis": 0, "subscription": "*", "subVersion": 0, "expressionType": "TAG"}
        header, body = ask(address, 11, ext, timeout=5)
        if not header or header["code"] != 0:
            return found, header
        at = 0
        while at < len(body):
            size, = struct.unpack_from(">I", body, at)
            queue_offset, = struct.unpack_from(">q", body, at + 20)
            match = re.search(rb"id-\d{8};", body[at:at + size])
            found[queue_offset] = match.group().decode() if match else ""
            at += size
        offset = int(header["extFields"]["nextBeginOffset"])


def free_base():
    """The first of 150 ports of which those that a group takes are free."""
    for base in random.sample(range(12000, 30000, 150), 100):
        taken = [base, *range(base + 10, base + 20), *range(base + 98, base + 150)]
        held = []
        try:
            for port in taken:
                held.append(socket.create_server(("127.0.0.1", port)))
            return base
        except OSError:
            continue
        finally:
            for listener in held:
                listener.close()
    raise SystemExit("no free ports")


def until(condition, seconds, what, step=0.05):
    end = now() + seconds
    while not condition():
        if now() > end:
            raise SystemExit("not within %d s: %s" % (seconds, what))
        time.sleep(step)
