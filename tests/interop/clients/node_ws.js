// Dials with node's ws. Input and output are those of python_clients.py.
"use strict";

const readline = require("readline");
const { WebSocket } = require("ws");

const PATIENCE = 4000;

function dial(url) {
    return new Promise((resolve) => {
        let socket;
        try {
            socket = new WebSocket(url, { handshakeTimeout: PATIENCE });
        } catch (err) {
            return resolve(["fails", `${err}`]);
        }
        const late = setTimeout(() => end(["fails", "no message"]), PATIENCE + 500);
        const end = (verdict) => {
            clearTimeout(late);
            socket.removeAllListeners();
            socket.on("error", () => {});
            socket.terminate();
            resolve(verdict);
        };
        socket.on("message", (_, binary) => end([binary ? "fails" : "opens", ""]));
        socket.on("unexpected-response", (_, reply) => end([`status ${reply.statusCode}`, ""]));
        socket.on("error", (err) => end(["fails", `${err}`]));
        socket.on("close", (code) => end(["fails", `closed with ${code}`]));
    });
}

(async () => {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const { urls } = JSON.parse(line);
        let verdict;
        for (const url of urls) {
            verdict = await dial(url);
        }
        console.log(JSON.stringify(verdict));
    }
})();
