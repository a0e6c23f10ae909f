"""Imports Synapse once and forks a homeserver from itself for each one asked for.

    warm.py SOCKET      listens on a unix socket; a connection is one place for a homeserver, spoken to in JSON lines:
      {"place": {"remove": FOLDER or null}}        first: what to remove when the connection ends
      {"start": {"config": FILE, "output": FILE}}  answers {"started": PID}
      {"stop": true}                               kills it, then answers {"stopped": true}
    {"ended": true} comes when a homeserver ends by itself. A connection that ends takes its homeserver along.
Ends when its stdin does, which is when the process that started it ends, however that happens, and takes the folder of
its socket along.
"""
import ctypes, gc, json, os, selectors, shutil, signal, socket, sys, traceback

PR_SET_PDEATHSIG = 1

# SIGINT of a terminal reaches the whole group; who started this process decides what it means.
signal.signal(signal.SIGINT, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
os.write(1, b"listening\n")  # connections wait in the queue while Synapse is imported

from twisted.internet.main import installReactor
from synapse.app.complement_fork_proxied_reactor import ProxiedReactor

# A real reactor must not be shared over a fork (it owns an epoll descriptor), so each child makes its own behind this.
proxy = ProxiedReactor()
installReactor(proxy)
import synapse.app.homeserver
from twisted.internet.epollreactor import EPollReactor

gc.collect()
gc.freeze()  # keeps the imported pages shared with the children
libc = ctypes.CDLL(None)
selector = selectors.DefaultSelector()
places = {}  # connection -> Place


class Place:
    def __init__(self, connection):
        self.connection, self.pid, self.remove, self.received = connection, None, None, b""

    def tell(self, message):
        try:
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # its end is noticed where it is read

    def kill(self):
        if self.pid is None:
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = None

    def close(self):
        selector.unregister(self.connection)
        del places[self.connection]
        self.connection.close()
        self.kill()
        if self.remove:
            shutil.rmtree(self.remove, ignore_errors=True)


def become_homeserver(parent, config, output):
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for connection in [listener, wakeup_read, wakeup_write, *places]:
        connection.close()
    selector.close()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    written = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(written, 1)
    os.dup2(written, 2)
    proxy._install_real_reactor(EPollReactor())
    sys.argv = ["synapse.app.homeserver", "--config-path", config]
    synapse.app.homeserver.main()


def start(place, config, output):
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            become_homeserver(parent, config, output)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    place.pid = pid
    place.tell({"started": pid})


def heard(place):
    try:
        data = place.connection.recv(65536)
    except OSError:
        data = b""
    if not data:
        return place.close()
    *lines, place.received = (place.received + data).split(b"\n")
    for line in lines:
        message = json.loads(line)
        if "place" in message:
            place.remove = message["place"]["remove"]
        elif "start" in message:
            start(place, message["start"]["config"], message["start"]["output"])
        elif "stop" in message:
            place.kill()
            place.tell({"stopped": True})


def reap():
    for place in list(places.values()):
        if place.pid is not None and os.waitpid(place.pid, os.WNOHANG)[0] == place.pid:
            place.pid = None
            place.tell({"ended": True})


def end():
    for place in list(places.values()):
        place.close()
    shutil.rmtree(os.path.dirname(sys.argv[1]), ignore_errors=True)
    sys.exit(0)


wakeup_read, wakeup_write = socket.socketpair()
wakeup_read.setblocking(False)
wakeup_write.setblocking(False)
signal.set_wakeup_fd(wakeup_write.fileno())
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: end())
selector.register(sys.stdin, selectors.EVENT_READ)
selector.register(listener, selectors.EVENT_READ)
selector.register(wakeup_read, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is sys.stdin:
            if not os.read(0, 1024):
                end()
        elif key.fileobj is listener:
            connection, _ = listener.accept()
            places[connection] = Place(connection)
            selector.register(connection, selectors.EVENT_READ)
        elif key.fileobj is wakeup_read:
            wakeup_read.recv(1024)
            reap()
        elif key.fileobj in places:
            heard(places[key.fileobj])
