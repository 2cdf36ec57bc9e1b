"""A server by aiohttp: PORT, and anything if it is to compress."""

import asyncio
import json
import os
import sys

from aiohttp import BasicAuth, WSMsgType, hdrs, web

CREDENTIAL = BasicAuth(*os.environ["CREDENTIAL"].split(":"))


async def talk(request):
    if request.path == "/auth":
        heard = request.headers.get(hdrs.AUTHORIZATION)
        if not heard or BasicAuth.decode(heard) != CREDENTIAL:
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Basic"})
    # With `autoping` it says nothing of a Pong.
    socket = web.WebSocketResponse(
        autoping=request.path != "/ping", protocols=["b", "c"], compress=request.app["compress"],
        max_msg_size=0)
    await socket.prepare(request)
    if request.path == "/close":
        await socket.close(code=int(request.query["code"]), message=request.query["reason"].encode())
    elif request.path == "/ping":
        await socket.ping(b"are you there")
    elif request.path == "/headers":
        heard = {name.lower(): value for name, value in request.headers.items()}
        await socket.send_str(json.dumps(heard))
    async for message in socket:
        match message.type:
            case WSMsgType.TEXT:
                await socket.send_str(message.data)
            case WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            case WSMsgType.PONG if message.data == b"are you there":
                await socket.send_str("you are")
    return socket


async def main(port, compress=""):
    app = web.Application()
    app["compress"] = bool(compress)
    app.add_routes([web.get("/{path:.*}", talk)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
