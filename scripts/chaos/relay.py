"""A TCP relay between actors and the learner that can be slow, go silent, or drop every connection."""

import asyncio
import socket
import struct
import threading

CHUNK = 64 << 10
POLL_S = 0.02


class Relay:
    """Serves in a thread of its own until the process ends. Attributes may be set from any thread."""

    def __init__(self, port: int, target_port: int) -> None:
        self.port, self.target_port = port, target_port
        self.delay_s = 0.0  # of each piece that is passed on
        self.silent = False  # nothing is passed on, and nobody is told: a partition
        self.connections: set[asyncio.StreamWriter] = set()
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        if not self.ready.wait(10):
            raise RuntimeError(f"the relay does not listen on port {port}")

    def cut(self) -> None:
        """Resets every connection."""

        def close() -> None:
            for writer in list(self.connections):
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

        self.loop.call_soon_threadsafe(close)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self.ready.set()
        self.loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while self.silent:
                await asyncio.sleep(POLL_S)
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while data := await reader.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while self.silent:
                    await asyncio.sleep(POLL_S)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self.connections.discard(writer)
            writer.close()
