"""A server by python's websockets: PORT, and the parameters of permessage-deflate as JSON."""

import asyncio
import json
import os
import sys
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import basic_auth, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def talk(socket):
    url = urlsplit(socket.request.path)
    if url.path == "/close":
        query = dict(parse_qsl(url.query))
        await socket.close(int(query["code"]), query["reason"])
    elif url.path == "/ping":
        await (await socket.ping("are you there"))
        await socket.send("you are")
    elif url.path == "/fragments":
        await socket.send(["in ", "thr\u00e9e", "", " parts"])
    elif url.path == "/headers":
        heard = {name.lower(): value for name, value in socket.request.headers.raw_items()}
        await socket.send(json.dumps(heard))
    async for message in socket:
        await socket.send(message)


async def main(port, deflate=None):
    check = basic_auth("interop", tuple(os.environ["CREDENTIAL"].split(":")))

    async def auth(connection, request):
        return await check(connection, request) if request.path == "/auth" else None

    options = {"compression": None}
    if deflate:
        options["extensions"] = [ServerPerMessageDeflateFactory(**json.loads(deflate))]
    async with serve(talk, "127.0.0.1", int(port), process_request=auth, subprotocols=["b", "c"],
                     select_subprotocol=choose, **options):
        await asyncio.Event().wait()


def choose(_, offered):
    """The last one that is known; its own way would refuse who offers none."""
    known = [name for name in offered if name in ("b", "c")]
    return known[-1] if known else None


asyncio.run(main(*sys.argv[1:]))
