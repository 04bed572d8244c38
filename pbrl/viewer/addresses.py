"""Addresses at which a viewer can be reached, and the certificate that encrypts them."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pbrl.errors import UserError

EVERYWHERE = ("0.0.0.0", "::")  # hosts that mean all addresses of this machine
OUTSIDE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # reserved: nothing is ever sent there
OPEN_WARNING = (
    "warning: http is not encrypted: who can listen on this network reads the address with its token, and the answers; "
    "an SSH tunnel or tls=cert.pem,key.pem keeps them private: docs/viewer.md"
)


class Certificate(NamedTuple):
    """Files in PEM that make it https."""

    cert: Path
    key: Path


def read_certificate(text: str | None) -> Certificate | None:
    """Return what viewer.tls=cert.pem,key.pem names, tried once so that a mistake is said before any address."""
    if text is None:
        return None
    parts = [Path(part.strip()).expanduser() for part in text.split(",")]
    if len(parts) != 2:
        raise UserError(f"viewer.tls={text}: expected two files, as cert.pem,key.pem")
    for path in parts:
        if not path.is_file():
            raise UserError(f"viewer.tls={text}: {path} is no file; expected a certificate and its key, in PEM")
    certificate = Certificate(*(path.resolve() for path in parts))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*certificate, password=lambda: "")
    except (OSError, ValueError) as error:
        raise UserError(
            f"viewer.tls={text}: they are not a certificate in PEM and its key without a password ({error})"
        ) from None
    return certificate


def reachable_names(host: str, port: int) -> list[str]:
    """Return what to write into a URL for a server that listens on this host, best first; all of them were tried."""
    if host not in EVERYWHERE:
        return [in_url(host)]
    addresses = [found for family in _families(host) if (found := _own_address(family)) is not None]
    name = socket.gethostname()
    names = [name] if _resolved(name) & set(addresses) else []
    return [*(in_url(n) for n in (*addresses, *names) if _answers(n, port)), "127.0.0.1"]


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _families(host: str) -> list[socket.AddressFamily]:
    return [socket.AF_INET] if host == "0.0.0.0" else [socket.AF_INET, socket.AF_INET6]


def _own_address(family: socket.AddressFamily) -> str | None:
    """Return the address by which other machines reach this one: from where it would send to them."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((OUTSIDE[family], 9))
        return str(probe.getsockname()[0])
    return None


def _resolved(name: str) -> set[str]:
    with suppress(OSError, UnicodeError):
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
    return set()


def _answers(name: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((name, port), timeout=1):
        return True
    return False
