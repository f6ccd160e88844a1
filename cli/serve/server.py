"""The process of the server: its socket, and its end."""

import copy
import os
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from uvicorn.config import LOGGING_CONFIG

from heed.cli.io.signals import Interrupted, Terminated, handled
from heed.models.errors import HeedError

WAITING = 2048  # connections that the system keeps until they are accepted
IDLE = 75  # seconds that a connection may wait for another request


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        HeedError: The address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=WAITING)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)  # the error's own text names the address again
        reason = os.strerror(number) if number and number > 0 else str(error)
        raise HeedError(f"{host} port {port}: {reason}; choose another --port or --host") from None


def address(listening: socket.socket) -> str:
    """The URL of a server."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Starlette, listening: socket.socket, *, seconds: float, logs: bool, started: Callable[[], None]) -> None:
    """Answer requests until SIGTERM or Ctrl-C; then complete those that have begun. A second signal does not wait.

    Args:
        app: Answers.
        listening: Where requests come from.
        seconds: That an answer may take.
        logs: Whether each answer is told on stderr.
        started: Called when requests are answered.
    """
    log_config = copy.deepcopy(LOGGING_CONFIG)
    log_config["handlers"]["access"]["stream"] = "ext://sys.stderr"  # uvicorn's choice is stdout
    config = uvicorn.Config(
        app,
        log_config=log_config,
        log_level="info" if logs else "error",
        access_log=logs,
        ws="none",
        lifespan="off",
        server_header=False,
        timeout_keep_alive=IDLE,
        timeout_graceful_shutdown=int(seconds) + 5,
    )
    server = _Server(config, started)
    try:
        server.run(sockets=[listening])
    except (Interrupted, Terminated):  # raised again at the end of the run
        if server.force_exit:
            raise
        handled()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._told_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._told_started()
