"""A name server on loopback that says what it was told: A, AAAA and SRV records over UDP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from types import TracebackType

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset


class NameServer:
    """Answers from entering the context to leaving it.

    Attributes:
        address: `host:port`.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        host, port = self._socket.getsockname()
        self.address = f"{host}:{port}"
        self._records: dict[tuple[str, str], list[str]] = {}
        self._fails = True
        self._ends = False
        self._thread = threading.Thread(target=self._serve, name="name server")

    def answer(
        self,
        name: str,
        *,
        hosts: Sequence[str] = (),
        services: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Give a name these addresses, or these hosts and ports; without any it has no records."""
        self._records = {
            (f"{name}.", "A"): [host for host in hosts if ":" not in host],
            (f"{name}.", "AAAA"): [host for host in hosts if ":" in host],
            (f"{name}.", "SRV"): [f"0 0 {port} {host}." for host, port in services],
        }
        self._fails = False

    def fail(self) -> None:
        """Answer that nothing can be answered, until `answer`."""
        self._fails = True

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waking:
            waking.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(4096)
            if self._ends:
                return
            try:
                query = dns.message.from_wire(data)
            except dns.exception.DNSException:
                continue
            self._socket.sendto(self._reply(query).to_wire(), peer)

    def _reply(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query, recursion_available=True)
        if self._fails:
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply
        (question,) = query.question
        records = self._records.get((question.name.to_text(), question.rdtype.name), [])
        if records:
            kind = question.rdtype.name
            reply.answer.append(dns.rrset.from_text_list(question.name, 1, "IN", kind, records))
        return reply
