"""`trust`: the certificates that a client accepts of a server, and the error of any other."""

from __future__ import annotations

import ssl
from pathlib import Path

from models.errors import ConfigError, CorralError


def trust(ca: Path | None) -> ssl.SSLContext:
    """Return the system's trust, and that in the authorities of a PEM file. Raises ConfigError."""
    context = ssl.create_default_context()
    if ca is None:
        return context
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise ConfigError(
            f"--tls-ca {ca} has no PEM certificate; give that of the server, or of its authority"
        ) from error
    except OSError as error:
        raise ConfigError(f"can't read --tls-ca {ca}: {error.strerror or error}") from error
    return context


def untrusted(url: str, error: BaseException) -> CorralError | None:
    """Return the error of a server's certificate that isn't trusted, in words; None for any other error."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        return None
    return CorralError(
        f"the certificate of {url} isn't trusted ({error.verify_message.rstrip('.')}); name the server as its"
        " certificate does, and its authority's file with --tls-ca (or CORRAL_TLS_CA)"
    )


def trust_variables(ca: Path | None) -> dict[str, str]:
    """Return what makes programs on Node trust the file, too; others have no variable that only adds."""
    return {} if ca is None else {"NODE_EXTRA_CA_CERTS": str(ca.resolve())}
