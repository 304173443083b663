"""A way to a service that can be shut, so that the service fails without losing what it has."""

import contextlib
import socket
import threading


class Gate:
    """
    Forwards connections from a port of the loopback address while it is open.

    `shut_after` lets so many more bytes through to the service (or from it) before it shuts by itself.
    """

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections = set()
        self._left = {"in": None, "out": None}
        self.is_open = True
        self._threads = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def shut(self):
        self.is_open = False
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def open(self):
        self._left = {"in": None, "out": None}
        self.is_open = True

    def shut_after(self, size, direction="in"):
        self._left[direction] = size

    def close(self):
        self.shut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.shut()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self.is_open:
                near.close()
                continue
            self._threads.append(threading.Thread(target=self._relay, args=(near,)))
            self._threads[-1].start()

    def _relay(self, near):
        with near, socket.create_connection(self._target) as far:
            self._connections |= {near, far}
            back = threading.Thread(target=self._copy, args=(far, near, "out"))
            back.start()
            self._copy(near, far, "in")
            back.join()
            self._connections -= {near, far}

    def _copy(self, source, target, direction):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                left = self._left[direction]
                if left is not None:
                    self._left[direction] = max(0, left - len(data))
                    if left < len(data):
                        self.shut()
                        break
                target.sendall(data)
        for connection in (source, target):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
