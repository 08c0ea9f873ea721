"""Sockets that servers of this package listen on."""

import socket

from .errors import InputError


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens already, so that who reads its URL can connect at once.

    Args:
        host: Address of this machine.
        port: Port; 0: one that is free.

    Raises:
        InputError: The port is in use, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(f'--host {host} --port {port} cannot be used: {error}; choose another port') from error
    return listening


def url_of(listening: socket.socket) -> str:
    """Return the address of a listening socket as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'
