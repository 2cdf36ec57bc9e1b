"""The cases of `differential`: what a server answers, or what an application asks for."""

import re
from dataclasses import dataclass

STATUS = b"HTTP/1.1 101 Switching Protocols\r\n"
UPGRADE = b"Upgrade: websocket\r\n"
CONNECTION = b"Connection: Upgrade\r\n"
ACCEPT = b"Sec-WebSocket-Accept: {accept}\r\n"
GOOD = STATUS + UPGRADE + CONNECTION + ACCEPT + b"\r\n"
HEAD = "head"
LOCAL = "ws://localhost:PORT/"


@dataclass
class Case:
    kind: str
    what: str
    urls: tuple[str, ...] = (LOCAL,)
    head: bytes = GOOD
    no_proxy: str | None = None

    @property
    def name(self):
        return f"{self.kind}: {self.what}"

    def seen(self, verdict, requests, proxied):
        """Returns what is compared: the verdict, or what the server saw."""
        if self.kind == "head":
            return verdict
        if self.kind == "no_proxy":
            return "proxy" if proxied else "direct"
        if self.kind == "cookie":
            return line(requests[1], "cookie") if len(requests) > 1 else f"no second dial: {verdict}"
        if not requests:
            return "not sent"
        target = requests[0].split("\r\n")[0].split(" ", 1)[1].rsplit(" ", 1)[0]
        sent = f"{target} to {line(requests[0], 'host')}"
        auth = line(requests[0], "authorization")
        return sent if auth == "none" else f"{sent} as {auth}"


def line(request, name):
    values = re.findall(rf"(?im)^{name}: *(.*?)\r?$", request)
    return " + ".join(values) or "none"


def head(what, reply):
    return Case("head", what, head=reply)


def odd(what, added, without=b""):
    """A good 101 with lines added behind the status line."""
    return head(what, GOOD.replace(without, b"").replace(STATUS, STATUS + added))


def refusal(what, added, status=b"HTTP/1.1 503 Service Unavailable\r\n"):
    return head(f"503 with {what}", status + added + b"Content-Length: 1\r\n\r\nx")


def status_line(what, status):
    return head(f"status line: {what}", GOOD.replace(STATUS, status))


HEADS = [
    head("good", GOOD),
    odd("names in capitals", b"UPGRADE: websocket\r\nCONNECTION: UPGRADE\r\n", UPGRADE + CONNECTION),
    odd("WebSocket in capitals", b"Upgrade: WebSocket\r\n", UPGRADE),
    odd("no blank behind the colons", b"Upgrade:websocket\r\nConnection:Upgrade\r\n", UPGRADE + CONNECTION),
    odd("blanks around the values", b"Upgrade: \t websocket \t\r\n", UPGRADE),
    odd("a list in Connection", b"Connection: keep-alive, Upgrade\r\n", CONNECTION),
    odd("two lines of Connection", b"Connection: keep-alive\r\n"),
    odd("Connection without Upgrade", b"Connection: keep-alive\r\n", CONNECTION),
    odd("no Connection", b"", CONNECTION),
    odd("no Upgrade", b"", UPGRADE),
    odd("a list in Upgrade", b"Upgrade: websocket, h2c\r\n", UPGRADE),
    odd("two lines of Upgrade", UPGRADE),
    odd("another Upgrade", b"Upgrade: h2c\r\n", UPGRADE),
    odd("no digest", b"", ACCEPT),
    odd("another digest", b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n", ACCEPT),
    odd("the digest twice", ACCEPT),
    odd("two different digests", b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"),
    odd("an empty digest", b"Sec-WebSocket-Accept:\r\n", ACCEPT),
    odd("a subprotocol that was not offered", b"Sec-WebSocket-Protocol: chat\r\n"),
    odd("an empty subprotocol", b"Sec-WebSocket-Protocol:\r\n"),
    odd("an extension that was not offered", b"Sec-WebSocket-Extensions: x-unknown\r\n"),
    odd("an empty extension", b"Sec-WebSocket-Extensions:\r\n"),
    odd("Content-Length 0", b"Content-Length: 0\r\n"),
    odd("Content-Length 5", b"Content-Length: 5\r\n"),
    odd("Transfer-Encoding", b"Transfer-Encoding: chunked\r\n"),
    odd("Content-Encoding", b"Content-Encoding: gzip\r\n"),
    odd("a folded line", b"X-A: one\r\n two\r\n"),
    odd("a folded Connection", b"Connection: keep-alive,\r\n Upgrade\r\n", CONNECTION),
    odd("a control character in a value", b"X-A: one\x01two\r\n"),
    odd("NUL in a value", b"X-A: one\0two\r\n"),
    odd("CR in a value", b"X-A: one\rtwo\r\n"),
    odd("a line that ends with LF", b"X-A: one\n"),
    head("all lines end with LF", GOOD.replace(b"\r\n", b"\n")),
    odd("Latin-1 in a value", b"X-A: caf\xe9\r\n"),
    odd("UTF-8 in a value", "X-A: café\r\n".encode()),
    odd("a blank before the colon", b"X-A : one\r\n"),
    odd("a blank before the colon of Upgrade", b"Upgrade : websocket\r\n", UPGRADE),
    odd("a blank in a name", b"X A: one\r\n"),
    odd("a byte above 127 in a name", b"X-\xe9: one\r\n"),
    odd("a line without a colon", b"nonsense\r\n"),
    odd("a line without a name", b": one\r\n"),
    odd("a blank before the first line", b" X-A: one\r\n"),
    odd("an empty value", b"X-A:\r\n"),
    odd("a line of 8,000 bytes", b"X-A: " + b"x" * 8_000 + b"\r\n"),
    odd("a line of 20,000 bytes", b"X-A: " + b"x" * 20_000 + b"\r\n"),
    odd("a head of 80,000 bytes", b"".join(b"X-%d: %s\r\n" % (i, b"x" * 800) for i in range(100))),
    odd("100 lines", b"".join(b"X-%d: x\r\n" % i for i in range(100))),
    odd("300 lines", b"".join(b"X-%d: x\r\n" % i for i in range(300))),
    status_line("no reason phrase", b"HTTP/1.1 101\r\n"),
    status_line("an empty reason phrase", b"HTTP/1.1 101 \r\n"),
    status_line("another reason phrase", b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"),
    status_line("Latin-1 in the reason phrase", b"HTTP/1.1 101 \xe9t\xe9\r\n"),
    status_line("two blanks", b"HTTP/1.1  101 Switching Protocols\r\n"),
    status_line("HTTP/1.0", b"HTTP/1.0 101 Switching Protocols\r\n"),
    status_line("HTTP/2.0", b"HTTP/2.0 101 Switching Protocols\r\n"),
    status_line("in small letters", b"http/1.1 101 Switching Protocols\r\n"),
    status_line("an empty line before it", b"\r\nHTTP/1.1 101 Switching Protocols\r\n"),
    status_line("a sign before the status", b"HTTP/1.1 +101 Switching Protocols\r\n"),
    status_line("a status of four digits", b"HTTP/1.1 1010 Switching Protocols\r\n"),
    head("100 before the 101", b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD),
    head("103 before the 101", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + GOOD),
    head("not HTTP", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    head("nothing", b""),
    head("200", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    head("302 without Location", b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"),
    head("401", b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"),
    head("status 600", b"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n"),
    refusal("no odd line", b""),
    refusal("a folded line", b"X-A: one\r\n two\r\n"),
    refusal("a control character in a value", b"X-A: one\x01two\r\n"),
    refusal("NUL in a value", b"X-A: one\0two\r\n"),
    refusal("CR in a value", b"X-A: one\rtwo\r\n"),
    refusal("a blank before the colon", b"X-A : one\r\n"),
    refusal("a byte above 127 in a name", b"X-\xe9: one\r\n"),
    refusal("a line without a colon", b"nonsense\r\n"),
    refusal("300 lines", b"".join(b"X-%d: x\r\n" % i for i in range(300))),
    refusal("a line of 20,000 bytes", b"X-A: " + b"x" * 20_000 + b"\r\n"),
]

URLS = [Case("url", repr(text)[1:-1], urls=(text,)) for text in [
    "ws://localhost:PORT",
    "ws://localhost:PORT/",
    "WS://LOCALHOST:PORT/A",
    "ws://127.0.0.1:PORT/a/b?c=d&e",
    "ws://[::1]:PORT/",
    "ws://[0:0:0:0:0:0:0:1]:PORT/",
    "ws://localhost.:PORT/",
    "ws://localhost:PORT?x=1",
    "ws://localhost:PORT/?",
    "ws://localhost:PORT/a b",
    "ws://localhost:PORT/caf\u00e9",
    "ws://localhost:PORT/?q=caf\u00e9",
    "ws://localhost:PORT/a%20b%2Fc",
    "ws://localhost:PORT/a%zz",
    "ws://localhost:PORT/a/../b/./c",
    "ws://localhost:PORT//a//b",
    "ws://localhost:PORT/a;b=c",
    "ws://localhost:PORT/a\\b",
    "ws://localhost:PORT/?a=\"<>'{}|^`",
    "ws://localhost:PORT/a#b",
    "ws://user:pass@localhost:PORT/",
    "ws://user@localhost:PORT/",
    "ws://us%3Aer:p%40ss@localhost:PORT/",
    "ws://user:p%C3%A9@localhost:PORT/",
    "ws://2130706433:PORT/",
    "ws://0x7f.1:PORT/",
    "ws://127.1:PORT/",
    "ws://l%6fcalhost:PORT/",
    " ws://localhost:PORT/ ",
    "ws://localhost:PORT/a\tb",
    "ws://localhost:PORT/a\r\nX-Evil: 1",
    "ws:localhost:PORT/",
    "ws:///localhost:PORT/",
    "http://localhost:PORT/",
    "localhost:PORT",
    "ws://:PORT/",
    "ws://localhost:99999/",
    "ws://",
]]


def cookie(what, *lines):
    """What is set by the first reply, and sent with the second request, of the same path."""
    added = b"".join(b"Set-Cookie: " + line + b"\r\n" for line in lines)
    return Case("cookie", what, urls=("ws://localhost:PORT/a/b",) * 2, head=GOOD.replace(STATUS, STATUS + added))


def domain(what, line):
    """A cookie with a domain, because websocket-client keeps no other."""
    return cookie(what, line + b"; Domain=localhost")


COOKIES = [
    cookie("of this host", b"a=1"),
    domain("of this host as its domain", b"a=1"),
    domain("with a path above", b"a=1; Path=/a"),
    domain("with the path of all", b"a=1; Path=/"),
    domain("with another path", b"a=1; Path=/x"),
    domain("with a path that is a part of a name", b"a=1; Path=/a/b2"),
    domain("with quotes", b'a="1 2"'),
    domain("with a blank in its value", b"a=1 2"),
    domain("with = in its value", b"a=b=c"),
    domain("with a comma in its value", b"a=1,2"),
    domain("with an empty value", b"a="),
    domain("without a name", b"=1"),
    domain("of two lines", b"a=1; Domain=localhost\r\nSet-Cookie: b=2"),
    domain("set twice", b"a=1; Domain=localhost\r\nSet-Cookie: a=2"),
    domain("that is Secure", b"a=1; Secure"),
    domain("for HTTP only", b"a=1; HttpOnly"),
    domain("of Max-Age 0", b"a=1; Max-Age=0"),
    domain("of Max-Age 100", b"a=1; Max-Age=100"),
    domain("of Max-Age that is no number", b"a=1; Max-Age=soon"),
    domain("that expired", b"a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
    domain("that expired by an old date", b"a=1; Expires=Thursday, 01-Jan-70 00:00:00 GMT"),
    domain("that expired by JavaScript's date", b"a=1; Expires=Thu Jan 01 1970 00:00:00 GMT+0000"),
    domain("that expired by a date of one digit", b"a=1; Expires=Thu, 1 Jan 1970 0:0:0 GMT"),
    domain("that expires later", b"a=1; Expires=Wed, 01 Jan 2098 00:00:00 GMT"),
    domain("with a date that is none", b"a=1; Expires=soon"),
    domain("with the prefix __Host-", b"__Host-a=1; Path=/"),
    domain("with the prefix __Secure-", b"__Secure-a=1"),
    cookie("of another domain", b"a=1; Domain=example.com"),
    cookie("of a domain below", b"a=1; Domain=x.localhost"),
    cookie("that is deleted again", b"a=1; Domain=localhost", b"a=; Domain=localhost; Max-Age=0"),
]

NO_PROXY = [
    Case("no_proxy", f"{value!r} and {host}", urls=(f"ws://{host}:PORT/",), no_proxy=value)
    for value, host in [
        ("", "example.test"),
        ("example.test", "example.test"),
        ("example.test", "a.example.test"),
        ("example.test", "badexample.test"),
        (".example.test", "example.test"),
        (".example.test", "a.example.test"),
        ("*.example.test", "a.example.test"),
        ("*.example.test", "example.test"),
        ("EXAMPLE.Test", "example.test"),
        ("example.test", "EXAMPLE.test"),
        ("example.test", "example.test."),
        ("example.test.", "example.test"),
        ("example.test:PORT", "example.test"),
        ("example.test:1", "example.test"),
        ("other.test,example.test", "example.test"),
        (" other.test , example.test ", "example.test"),
        ("other.test example.test", "example.test"),
        ("other.test,", "example.test"),
        ("*", "example.test"),
        ("a,*", "example.test"),
        ("test", "example.test"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2", "10.1.2.3"),
        ("10.*", "10.1.2.3"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("fd00::/8", "[fd00::1]"),
        ("127.0.0.1", "localhost"),
        ("localhost", "localhost"),
        ("localhost", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("b\u00fccher.test", "xn--bcher-kva.test"),
    ]
]

CASES = HEADS + URLS + COOKIES + NO_PROXY
