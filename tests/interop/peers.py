"""What the scripts here share: tools, a network namespace with nothing but loopback, processes,
certificates, and runs of wsup with the events expected from them."""

import base64
import concurrent.futures
import importlib.util
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOUSE = HERE.parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HOUSE / "target"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "actix-ws-client/interop"
PYTHON = CACHE / "venv/bin/python"
# The servers' libraries. uWebSockets is a library inside socketify.
PIP = ["websockets==17.4", "aiohttp==3.14.5", "socketify==0.0.31", "mcap==1.6.0"]
NPM = ["ws@8.23"]
# Some tools are on root's PATH only.
os.environ["PATH"] += ":/usr/sbin:/sbin"

USER, PASSWORD = "user", "correct-horse"
SECRETS = [PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()]
CASES_AT_ONCE = 8
# In seconds, for the slowest machine: what takes longer hangs.
PATIENCE = 60


# The place

def alone(tools, servers=False, example=False, root=False):
    """Runs the script again in its own network namespace, which has nothing but loopback and no port
    in use, and exits; returns there. Before that, installs the missing `tools` (commands, each with
    its Debian package) and the libraries of `servers`, and builds wsup and, if set, the `example`."""
    if sys.argv[1:] == ["inside"]:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    if root and os.geteuid() != 0:
        sys.exit(f"{sys.argv[0]}: needs root")
    install({"ip": "iproute2", "openssl": "openssl", **tools})
    if servers:
        libraries()
    build("-p", "wsup", "--bin", "wsup")
    if example:
        build("-p", "examples", "--example", "deflate_echo")
    unshare = ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    again = [*unshare, "--", sys.executable, os.path.abspath(sys.argv[0]), "inside"]
    sys.exit(subprocess.run(again).returncode)


def install(tools):
    apt([package for tool, package in tools.items() if not shutil.which(tool)])


def apt(packages):
    if packages:
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        apt_get = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *packages]
        subprocess.run(apt_get, check=True, env=env, stdout=subprocess.DEVNULL)


def libraries():
    """Installs `PIP` and `NPM` into the cache; again when the lists have changed."""
    done = CACHE / "done"
    wanted = " ".join([sys.version.split()[0], *PIP, *NPM])
    if done.exists() and done.read_text() == wanted:
        return
    install({"node": "nodejs", "npm": "npm"})
    # Debian's packages of venv and of the library that socketify loads have no command to look for.
    if not importlib.util.find_spec("ensurepip"):
        apt(["python3-venv"])
    if not any(Path("/usr/lib").glob("*/libuv.so.1")):
        apt(["libuv1"])
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PIP]
    subprocess.run(pip, check=True)
    subprocess.run(["npm", "install", "--silent", "--prefix", CACHE, *NPM], check=True)
    done.write_text(wanted)


def build(*what):
    cargo = ["cargo", "build", "--quiet", "--locked", *what]
    subprocess.run(cargo, cwd=HOUSE, check=True)


# Processes

class Place:
    """A folder, and processes that end with it. Their logs are kept if a case fails."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="interop-"))
        self.folder.chmod(0o755)  # some servers drop root
        self.running = []
        self.ports = itertools.count(20_000)
        self.lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if kind is None:
            shutil.rmtree(self.folder)
        else:
            print(f"logs are in {self.folder}")

    def port(self):
        """Returns a free port: no other process is in this namespace."""
        with self.lock:
            return next(self.ports)

    def file(self, name, text=""):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def at(self, name):
        return str(self.folder / name)

    def read(self, name):
        return (self.folder / name).read_text()

    def run(self, *command, **more):
        """Runs a command of the setup to its end."""
        with open(self.at("setup.log"), "a") as out:
            subprocess.run(command, check=True, stdout=out, stderr=out, cwd=self.folder, **more)

    def spawn(self, port, *command):
        """Starts a server, and returns when it answers on the port."""
        log = self.at(f"{port}.log")
        with open(log, "w") as out:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd=self.folder)
        with self.lock:
            self.running.append(process)
        deadline = time.monotonic() + PATIENCE
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Fault(f"{command[0]} does not answer on {port}:\n{Path(log).read_text()}")
            time.sleep(0.05)
        return process

    def server(self, kind, *args, port=None):
        """Starts a server of `servers/`, and returns its port."""
        port = port or self.port()
        script = HERE / "servers" / kind
        command = ["node", script] if kind.endswith(".js") else [PYTHON, script]
        env = [f"NODE_PATH={CACHE}/node_modules", f"CREDENTIAL={USER}:{PASSWORD}"]
        self.spawn(port, "env", *env, *command, port, *args)
        return port


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Authority:
    """A certificate authority, by openssl. Its certificates are valid unless the arguments say otherwise."""

    VALID = ("", "")
    EXPIRED = ("20200101000000Z", "20210101000000Z")
    COMING = ("20980101000000Z", "20990101000000Z")

    def __init__(self, place, name):
        self.place, self.name = place, name
        self.pem = place.at(f"{name}.pem")
        self.key = place.at(f"{name}.key")
        place.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "2",
                  "-keyout", self.key, "-out", self.pem, "-subj", f"/CN={name}")
        self.issue = self._state(self.pem, self.key)

    def _state(self, pem, key):
        """Returns the command `openssl ca` for the owner of this certificate."""
        base = f"{pem}.ca"
        for suffix, text in [("index", ""), ("serial", "1000\n")]:
            Path(f"{base}.{suffix}").write_text(text)
        Path(f"{base}.conf").write_text(f"""
[ca]
default_ca = this
[this]
database = {base}.index
serial = {base}.serial
new_certs_dir = {self.place.folder}
certificate = {pem}
private_key = {key}
default_md = sha256
default_days = 2
policy = any
unique_subject = no
[any]
commonName = supplied
""")
        return ["openssl", "ca", "-batch", "-notext", "-config", f"{base}.conf"]

    def certificate(self, name, names="DNS:localhost,IP:127.0.0.1", valid=VALID, subject=None,
                    middle=False, chain=True, usage="serverAuth,clientAuth"):
        """Returns the paths of a PEM with the chain, and of its key. With `middle` an intermediate
        authority issues the certificate; it is in the PEM if `chain` is set."""
        issue, links = self.issue, []
        if middle:
            pem, key = self._make(f"{name}-middle", "basicConstraints=critical,CA:TRUE", issue=issue)
            issue, links = self._state(pem, key), [pem] if chain else []
        extensions = f"extendedKeyUsage={usage}"
        if names:
            extensions += f"\nsubjectAltName={names}"
        pem, key = self._make(name, extensions, valid, subject, issue)
        for link in links:
            with open(pem, "a") as out:
                out.write(Path(link).read_text())
        return pem, key

    def _make(self, name, extensions, valid=VALID, subject=None, issue=None):
        path = {suffix: self.place.at(f"{self.name}-{name}.{suffix}")
                for suffix in ["pem", "key", "csr", "ext"]}
        self.place.run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-sha256", "-keyout",
                       path["key"], "-out", path["csr"], "-subj", f"/CN={subject or name}")
        Path(path["ext"]).write_text(extensions + "\n")
        start, end = valid
        dates = ["-startdate", start, "-enddate", end] if start else []
        self.place.run(*issue, "-in", path["csr"], "-out", path["pem"], "-extfile", path["ext"],
                       *dates)
        return path["pem"], path["key"]


# Runs

class Fault(Exception):
    """A difference from what was expected."""


class Run:
    """A run of wsup, to its end or until the expected events were seen."""

    def __init__(self, url, *flags, lines=(), until=None, env=None):
        """Sends `lines` and keeps the input open. The run is ended by a flag, a refusal, or `until`,
        which receives each event and returns whether to stop."""
        command = [os.environ.get("WSUP", str(TARGET / "debug/wsup")), "--json", *flags, url]
        clean = {name: value for name, value in os.environ.items()
                 if "proxy" not in name.lower() and name != "SSL_CERT_FILE"}
        self.events, self.command, self.enough = [], command, False
        with tempfile.TemporaryFile("w+") as stderr:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True,
                env={**clean, **(env or {})})
            late = threading.Timer(PATIENCE, process.kill)
            late.start()
            feed = threading.Thread(target=self._feed, args=(process.stdin, lines), daemon=True)
            feed.start()
            for line in process.stdout:
                event = {**json.loads(line), "at": time.monotonic()}
                self.events.append(event)
                if until and not self.enough and until(event):
                    self.enough = True
                    process.send_signal(signal.SIGINT)
            self.exit = process.wait()
            late.cancel()
            feed.join()
            try:
                process.stdin.close()
            except BrokenPipeError:
                pass
            stderr.seek(0)
            self.stderr = stderr.read()
        # A message has the server's text.
        shown = json.dumps([event for event in self.events if event["event"] != "message"])
        shown += self.stderr
        for secret in SECRETS:
            self.want(secret not in shown, "credentials are shown")

    @staticmethod
    def _feed(stdin, lines):
        try:
            for line in lines:
                stdin.write(line + "\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it ended early; its output is checked

    def want(self, holds, words):
        if not holds:
            raise Fault(f"{words}\n{self}")

    def told(self, *wanted, exit, beside=("ping", "pong")):
        """Checks that exactly these events came, in this order, except for the kinds in `beside`, and
        the exit status."""
        heard = [event for event in self.events if event["event"] not in beside]
        for event, keys in itertools.zip_longest(heard, wanted, fillvalue={}):
            for key, value in (keys or {"event": None}).items():
                found = event.get(key)
                holds = value(found) if callable(value) else found == value
                self.want(holds, f"{key} of {keys or event} is {found!r}")
        self.want(self.exit == exit, f"exit is {self.exit}, not {exit}")

    def all(self, kind):
        return [event for event in self.events if event["event"] == kind]

    def __str__(self):
        events = [{**event, **cut(event)} for event in self.events]
        lines = [" ".join(self.command), *map(json.dumps, events), self.stderr, f"exit {self.exit}"]
        return "\n".join(f"    {line}" for line in lines if line)


def cut(event):
    return {key: value[:200] for key, value in event.items() if isinstance(value, str)}


def opened(**keys):
    return {"event": "open", "status": 101, **keys}


def message(data, **keys):
    return {"event": "message", "type": "text", "data": data, **keys}


def error(stage, **keys):
    return {"event": "error", "stage": stage, **keys}


def closed(code=1000, reason="", by="local", clean=True, **keys):
    return {"event": "close", "code": code, "reason": reason, "by": by, "clean": clean, **keys}


def stopped(outcome, **keys):
    return {"event": "stopped", "outcome": outcome, **keys}


ENDED = (closed(), stopped("closed"))


def refused(stage, words="", **keys):
    """Returns the events of a failure that is not retried."""
    return error(stage, error=has(words), retry_in_ms=None, **keys), stopped("refused")


def has(words):
    return Named(f"has {words!r}", lambda text: isinstance(text, str) and words in text)


def between(least, most):
    return Named(f"{least}..{most}", lambda value: value is not None and least <= value <= most)


class Named:
    """A condition that can be printed."""

    def __init__(self, name, holds):
        self.name, self.holds = name, holds

    def __call__(self, value):
        return self.holds(value)

    def __repr__(self):
        return self.name


# Cases

def check(cases, at_once=CASES_AT_ONCE):
    """Runs the cases (name, function, arguments..), several at once, since most of them wait. Prints the
    results, and returns the exit status."""
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        runs = [(name, pool.submit(timed, *rest)) for name, *rest in cases]
        for name, run in runs:
            took, fault = run.result()
            failures += fault is not None
            print(f"{'FAILED' if fault else 'ok':7}{name} ({took:.1f} s)", flush=True)
            if fault:
                print(fault, flush=True)
    print(f"{Path(sys.argv[0]).name}: {len(runs)} cases, {failures} failures", flush=True)
    return int(failures > 0)


def timed(function, *args):
    start, fault = time.monotonic(), None
    try:
        function(*args)
    except Fault as err:
        fault = str(err)
    except Exception as err:  # an exception fails this case, and the others go on
        fault = f"{type(err).__name__}: {err}"
    return time.monotonic() - start, fault
