"""Hosts as network namespaces, joined by a switch, with real partitions: a wrong permanent neighbour entry drops frames in one direction,
silently, and a link that is down drops all. Needs root and ip(8).

The program itself moves into a namespace of its own first, where the switch is, so nothing of the machine's network is touched."""
import ctypes, os, subprocess

NOWHERE = "02:00:00:00:ff:ff"
CLONE_NEWNET = 0x40000000


def ip(*words, inside=None, fails=False):
    command = ["ip", *(["-n", inside] if inside else []), *words]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0 and not fails:
        raise SystemExit("%s: %s" % (" ".join(command), run.stderr.strip()))


class Hosts:
    """The caller is at 10.77.0.1; host `name` has an address in 10.77.0.0/24."""

    def __init__(self, names):
        if os.geteuid() != 0:
            raise SystemExit("network namespaces need root: run it with sudo")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise SystemExit("cannot make a network namespace: %s" % os.strerror(ctypes.get_errno()))
        ip("link", "set", "lo", "up")
        ip("link", "add", "switch", "type", "bridge")
        ip("addr", "add", "10.77.0.1/24", "dev", "switch")
        ip("link", "set", "switch", "up")
        self.own = "10.77.0.1"
        self.spaces, self.addresses, self.wrong = {}, {"": self.own}, set()
        for number, name in enumerate(names):
            self.add(name, "10.77.0.%d" % (10 + number))

    def add(self, name, address):
        space = "rq%d-%s" % (os.getpid(), name)
        self.spaces[name], self.addresses[name] = space, address
        ip("netns", "add", space)
        ip("link", "add", "to-" + name, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("link", "set", "to-" + name, "master", "switch", "up")
        ip("link", "set", "lo", "up", inside=space)
        ip("addr", "add", address + "/24", "dev", "eth0", inside=space)
        ip("link", "set", "eth0", "up", inside=space)

    def command(self, name):
        """In front of a command: it runs on that host."""
        return ["ip", "netns", "exec", self.spaces[name]]

    def drop(self, sender, receiver):
        """Frames from one host to another one vanish; those in the other direction do not."""
        ip("neigh", "replace", self.addresses[receiver], "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent", inside=self.spaces[sender])
        self.wrong.add((sender, receiver))

    def cut(self, ones, others):
        """All frames between the two sides vanish from one moment on, as far as a busy machine can: one process a host, all of them at a time."""
        pairs = [pair for one in ones for other in others for pair in ((one, other), (other, one))]
        lines = {}
        for sender, receiver in pairs:
            line = "neigh replace %s lladdr %s dev eth0 nud permanent\n" % (self.addresses[receiver], NOWHERE)
            lines[sender] = lines.get(sender, "") + line
        batches = []
        for sender, batch in lines.items():
            command = ["ip", "-n", self.spaces[sender], "-batch", "-"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            batches.append((command, process, batch))
        for _, process, batch in batches:
            process.stdin.write(batch)
            process.stdin.close()
        for command, process, _ in batches:
            said = process.stderr.read()
            if process.wait() != 0:
                raise SystemExit("%s: %s" % (" ".join(command), said.strip()))
        self.wrong.update(pairs)

    def unplug(self, name):
        ip("link", "set", "to-" + name, "down")

    def plug(self, name):
        ip("link", "set", "to-" + name, "up")

    def heal(self):
        for sender, receiver in self.wrong:
            ip("neigh", "del", self.addresses[receiver], "dev", "eth0", inside=self.spaces[sender])
        self.wrong.clear()

    def remove(self):
        for space in self.spaces.values():
            ip("netns", "del", space, fails=True)
