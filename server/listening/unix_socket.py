"""`UnixListener`: a bound socket in the file system, whose access rights say who may call the server."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Self

from models.errors import ConfigError, CorralError
from server.listener import Listener

_TRY_S = 2.0
"""Whoever listens at a path takes a connection within this time, or its queue is full."""


class UnixListener(Listener):
    """Removes its file when it is closed, unless there is another one at its path by then."""

    def __init__(self, bound: socket.socket, path: Path) -> None:
        super().__init__([bound])
        self._path = path
        self._file = _identity(path)

    @classmethod
    def at(cls, path: Path, mode: int) -> Self:
        """Bind `path`, with these access rights from the first moment on.

        A socket that nobody listens at, which a server that was killed has left, is replaced. Raises
        ConfigError for a path that can't be one, CorralError for one that is in use.
        """
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            before = os.umask(0o777 & ~mode)
            try:
                bound.bind(str(path))
            finally:
                os.umask(before)
            path.chmod(mode)
            return cls(bound, path)
        except OSError as error:
            bound.close()
            if error.errno == errno.EADDRINUSE:
                raise _in_use(path) from error
            raise ConfigError(f"can't listen at --socket {path}: {_reason(error)}") from error
        except BaseException:  # the socket is ours alone: nobody else closes it
            bound.close()
            raise

    def close(self) -> None:
        super().close()
        if self._file is not None and _identity(self._path) == self._file:
            self._path.unlink(missing_ok=True)
        self._file = None


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens at. Raises CorralError if somebody does, ConfigError for a file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"--socket {path} is no socket, and stays as it is; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_TRY_S)
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass  # it has gone meanwhile
        except TimeoutError:
            raise _in_use(path) from None
        else:
            raise _in_use(path)


def _in_use(path: Path) -> CorralError:
    return CorralError(f"another server listens at {path}; stop it, or choose another path with --socket")


def _reason(error: OSError) -> str:
    if error.errno is None:  # Python itself refuses a path that is too long
        return f"{error}; a socket's path has at most some 100 bytes"
    if error.errno == errno.ENOENT:
        return "there is no such folder"
    return error.strerror or str(error)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        state = path.lstat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
