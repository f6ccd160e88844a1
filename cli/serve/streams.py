"""Texts that threads generate, for the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heed.models.decoding.sampling import SampleConfig
    from heed.models.tasks.generator import Generation, Generator

Piece = tuple[int, int, str]  # number of the prompt, of its sample, and a text


class Streams:
    """Generates the texts of several requests at a time.

    Args:
        generator: The model.
        limit: Maximum number of requests for which it generates at a time; the others wait.
    """

    def __init__(self, generator: "Generator", limit: int) -> None:
        self._generator, self._pool = generator, ThreadPoolExecutor(limit)

    async def pieces(
        self, prompts: Sequence[str], config: "SampleConfig"
    ) -> "AsyncGenerator[Piece | list[list[Generation]]]":
        """The pieces of texts as they are generated, and at last the whole texts of each prompt.

        Closing it ends the work.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue["Piece | list[list[Generation]] | Exception"]()
        cancelled = threading.Event()

        def put(item: "Piece | list[list[Generation]] | Exception") -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody waits
                loop.call_soon_threadsafe(queue.put_nowait, item)

        def generate() -> None:
            pieces = self._generator.stream_all(prompts, config)
            try:
                while not cancelled.is_set():
                    put(next(pieces))
            except StopIteration as end:
                put(end.value)
            except Exception as error:  # noqa: BLE001 - raised where the pieces are read
                put(error)

        working = self._pool.submit(generate)
        try:
            while True:
                item = await queue.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, list):
                    return
        finally:
            cancelled.set()
            working.cancel()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
