"""`open_listener`: the sockets that the settings ask for, or those that a service manager has opened."""

from __future__ import annotations

import logging
from pathlib import Path

from server.config import ServerConfig
from server.listener import Listener
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
        return Listener(manager.sockets, tls)
    if config.socket is not None:
        return UnixListener.at(Path(config.socket).absolute(), int(config.socket_mode, 8))
    listener = Listener.bind(config.host, config.port)
    listener.tls = tls
    return listener
