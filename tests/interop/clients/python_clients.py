"""Dials with a Python client: NAME is `websocket-client`, `websockets` or `aiohttp`.

Reads one case a line as JSON from stdin: `urls` (dialled in order, with one jar of cookies), `env` (the proxy's
variables, or null for none). Prints one line for each: `opens` if the last URL gave a text message, `status N` if the
server refused with that status, or `fails`; behind it, for people, the client's own words."""

import asyncio
import json
import os
import sys

PATIENCE = 4


def main():
    name, *path = sys.argv[1:]
    sys.path[:0] = path
    dial = {"websocket-client": websocket_client, "websockets": websockets, "aiohttp": aiohttp}[name]
    for line in sys.stdin:
        case = json.loads(line)
        for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[variable]
        os.environ.update(case["env"] or {})
        try:
            verdict, words = dial(case["urls"], case["env"] is not None)
        except Exception as err:
            verdict, words = "fails", f"{type(err).__name__}: {err}"
        print(json.dumps([verdict, words]), flush=True)


def websocket_client(urls, proxied):
    import websocket
    from websocket import _handshake

    _handshake.CookieJar.jar.clear()
    direct = {} if proxied else {"http_no_proxy": ["*"]}
    for url in urls:
        try:
            connection = websocket.create_connection(url, timeout=PATIENCE, redirect_limit=0, **direct)
        except websocket.WebSocketBadStatusException as err:
            return f"status {err.status_code}", str(err)
        connection.recv()
        connection.close(timeout=1)
    return "opens", ""


def websockets(urls, proxied):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    for url in urls:
        try:
            with connect(url, open_timeout=PATIENCE, close_timeout=1, proxy=True if proxied else None) as connection:
                connection.recv(PATIENCE)
        except InvalidStatus as err:
            return f"status {err.response.status_code}", str(err)
    return "opens", ""


def aiohttp(urls, proxied):
    return asyncio.run(asyncio.wait_for(aiohttp_dials(urls, proxied), 2 * PATIENCE))


async def aiohttp_dials(urls, proxied):
    import aiohttp

    async with aiohttp.ClientSession(trust_env=proxied) as session:
        for url in urls:
            try:
                timeout = aiohttp.ClientWSTimeout(ws_close=1)
                connection = await asyncio.wait_for(session.ws_connect(url, timeout=timeout), PATIENCE)
            except aiohttp.WSServerHandshakeError as err:
                # A 101 that breaks the rules is reported as this error too.
                return ("fails" if err.status == 101 else f"status {err.status}"), str(err)
            await connection.receive_str(timeout=PATIENCE)
            await connection.close()
    return "opens", ""


if __name__ == "__main__":
    main()
