"""`open_listener`: the sockets that the settings ask for, or those that a service manager has opened."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from pathlib import Path

from models.errors import ConfigError
from server.config import ServerConfig
from server.listener import Listener, is_loopback
from server.listening.service_manager import ServiceManager
from server.listening.tls import TlsFiles
from server.listening.unix_socket import UnixListener

logger = logging.getLogger("corral.serve")


def open_listener(config: ServerConfig, manager: ServiceManager) -> Listener:
    """Return bound sockets for `ModelServer.run`. Those of a service manager win over the settings' address.

    Raises ConfigError for settings that can't be used, CorralError for an address that is in use.
    """
    tls = None
    if config.tls_cert is not None and config.tls_key is not None:
        tls = TlsFiles(Path(config.tls_cert), Path(config.tls_key))
    if manager.sockets:
        logger.info(
            "the service manager has opened %d sockets: --host, --port and --socket are its",
            len(manager.sockets),
        )
        _refuse_open_tools(config, manager.sockets)
        return Listener(manager.sockets, tls)
    if config.socket is not None:
        return UnixListener.at(Path(config.socket).absolute(), int(config.socket_mode, 8))
    listener = Listener.bind(config.host, config.port)
    listener.tls = tls
    return listener


def _refuse_open_tools(config: ServerConfig, sockets: Sequence[socket.socket]) -> None:
    """Raise ConfigError if other machines could use this server's tools without a key.

    The settings answer for the addresses that they name themselves.
    """
    if config.api_keys or not (config.tools or config.mcp_servers):
        return
    for one in sockets:
        if one.family != socket.AF_UNIX and not is_loopback(address := one.getsockname()[0]):
            raise ConfigError(
                f"tools would be open to everybody who reaches {address}, which the service manager has"
                " opened; set --api-key, or have it listen at 127.0.0.1"
            )
