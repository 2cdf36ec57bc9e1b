// A server by node's ws: PORT, and the parameters of permessage-deflate as JSON.
"use strict";

const http = require("http");
const { WebSocketServer } = require("ws");

const [port, deflate] = process.argv.slice(2);
const CREDENTIAL = "Basic " + Buffer.from(process.env.CREDENTIAL).toString("base64");

const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: deflate ? JSON.parse(deflate) : false,
    handleProtocols: (offered) => [...offered].filter((name) => "bc".includes(name)).pop() ?? false,
});

sockets.on("connection", (socket, request) => {
    const url = new URL(request.url, "http://localhost");
    socket.on("message", (data, binary) => socket.send(data, { binary }));
    if (url.pathname === "/close") {
        socket.close(Number(url.searchParams.get("code")), url.searchParams.get("reason"));
    } else if (url.pathname === "/ping") {
        socket.on("pong", (data) => data.toString() === "are you there" && socket.send("you are"));
        socket.ping("are you there");
    } else if (url.pathname === "/fragments") {
        socket.send("in ", { fin: false });
        socket.send("thr\u00e9e", { fin: false });
        socket.send("", { fin: false });
        socket.send(" parts", { fin: true });
    } else if (url.pathname === "/headers") {
        socket.send(JSON.stringify(request.headers));
    }
});

const server = http.createServer();
server.on("upgrade", (request, stream, head) => {
    if (request.url === "/auth" && request.headers.authorization !== CREDENTIAL) {
        stream.end("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    sockets.handleUpgrade(request, stream, head, (socket) => {
        sockets.emit("connection", socket, request);
    });
});
server.listen(Number(port), "127.0.0.1");
