"""A server by uWebSockets, which comes with python's socketify: PORT, and the names of its
compressor and decompressor. It echoes."""

import sys

from socketify import App, AppListenOptions, CompressOptions

port, compressor, decompressor = sys.argv[1:]
app = App()
app.ws("/*", {
    "compression": CompressOptions[compressor].value | CompressOptions[decompressor].value,
    "max_payload_length": 16 * 1024 * 1024,
    "max_backpressure": 64 * 1024 * 1024,
    "message": lambda socket, message, opcode: socket.send(message, opcode, True),
})
app.listen(AppListenOptions(port=int(port), host="127.0.0.1"), lambda config: None)
app.run()
