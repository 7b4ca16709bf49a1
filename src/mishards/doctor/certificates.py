"""TLS: can the files be used, until when, for which names, and who may read the keys?"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from mishards.core.errors import ConfigError
from mishards.doctor.findings import Check, Finding
from mishards.doctor.words import duration, listed
from mishards.server.config import Config
from mishards.tls.cluster import ClusterTls
from mishards.tls.files import TlsFiles, check, load_authorities, load_pair

USABLE = Check(
    "certificates.usable",
    "Can certificate, key and authority be used together?",
    "a node does not start with them, and one that runs goes on with those of before until its end",
)
EXPIRY = Check(
    "certificates.expiry",
    "How long are certificates and authorities valid?",
    "once one has expired no new connection comes about",
)
NAMES = Check(
    "certificates.names",
    "Does the proxies' certificate name the host that they listen on?",
    "clients refuse a certificate of another name",
)
KEYS = Check(
    "certificates.keys",
    "Are keys readable by their owner alone?",
    "who reads a key can pass for a node or a proxy",
)
CHECKS = (USABLE, EXPIRY, NAMES, KEYS)

_WARNED_S = 30 * 86400.0
_URGENT_S = 7 * 86400.0


class PairFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one end.

    Attributes:
        section: of the configuration that names them.
        problem: why they cannot be used; empty where they can.
        ends_s: Unix time at which each file's certificate expires, by the file; of several in a
            file, the first to expire.
        names: that the certificate is for.
        key_mode: permissions of the key; None where it is not there.
    """

    section: str
    files: TlsFiles
    problem: str = ""
    ends_s: dict[str, float] = {}
    names: tuple[str, ...] = ()
    key_mode: int | None = None


def look_at_certificates(config: Config) -> tuple[PairFacts, ...]:
    """Read all files that the configuration names. Blocking."""
    cluster, proxy, http = config.cluster, config.proxy, config.http
    found = []
    for section, certificate, key, ca in (
        ("cluster", cluster.tls_certificate, cluster.tls_key, cluster.tls_ca),
        ("proxy", proxy.tls_certificate, proxy.tls_key, proxy.tls_client_ca),
        ("http", http.tls_certificate, http.tls_key, ""),
    ):
        if certificate or key or ca:
            files = TlsFiles(certificate=certificate, key=key, ca=ca)
            found.append(_look(section, files))
    return tuple(found)


def _look(section: str, files: TlsFiles) -> PairFacts:
    facts = PairFacts(section=section, files=files)
    with suppress(OSError):
        mode = stat.S_IMODE(Path(files.key).stat().st_mode)
        facts = msgspec.structs.replace(facts, key_mode=mode)
    wanted = {"tls_certificate": files.certificate, "tls_key": files.key}
    if section == "cluster":
        wanted["tls_ca"] = files.ca
    if missing := [f"{section}.{name}" for name, path in wanted.items() if not path]:
        return msgspec.structs.replace(facts, problem=f"{' and '.join(missing)} is not set")
    try:
        if section == "cluster":
            ClusterTls(files)
        else:
            check(files)
        shown = _shown(files)
    except (ConfigError, ssl.SSLError, OSError) as error:
        return msgspec.structs.replace(facts, problem=str(error))
    ends: dict[str, float] = {}
    if "notAfter" in shown:
        ends[files.certificate] = ssl.cert_time_to_seconds(shown["notAfter"])
    if files.ca and (last := _authority_ends(files.ca)) is not None:
        ends[files.ca] = last
    names = tuple(value for _, value in shown.get("subjectAltName", ()))
    return msgspec.structs.replace(facts, ends_s=ends, names=names)


def _shown(files: TlsFiles) -> Mapping[str, Any]:
    """What a peer is shown of the certificate: two ends meet in memory."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(server, files)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    load_authorities(client, files.certificate, "certificate")
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[0].getpeercert() or {}


def _authority_ends(path: str) -> float | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_authorities(context, path, "CA")
    ends = [
        ssl.cert_time_to_seconds(str(one["notAfter"]))
        for one in context.get_ca_certs()
        if "notAfter" in one
    ]
    return min(ends, default=None)


def judge_certificates(
    pairs: Sequence[PairFacts], config: Config, now_s: float
) -> Iterator[Finding]:
    """What follows from the files; nothing where there are none."""
    for pair in pairs:
        if pair.problem:
            yield USABLE.failure(
                f"{pair.section}: {pair.problem}",
                f"renew or correct the files that {pair.section}.tls_* name (docs/security.md); "
                "they are read again without a restart",
            )
        else:
            yield USABLE.ok(f"{pair.section}: certificate, key and authority fit")
        yield from _expiry(pair, now_s)
        if pair.section == "proxy" and pair.names:
            yield _names(pair, config)
        if pair.key_mode is not None:
            yield _key(pair, pair.key_mode)


def _expiry(pair: PairFacts, now_s: float) -> Iterator[Finding]:
    for path, end_s in pair.ends_s.items():
        left_s = end_s - now_s
        if left_s <= 0:
            yield EXPIRY.failure(f"{path} has expired {duration(-left_s)} ago", "renew it")
        elif left_s < _URGENT_S:
            yield EXPIRY.failure(f"{path} expires in {duration(left_s)}", "renew it now")
        elif left_s < _WARNED_S:
            yield EXPIRY.warning(f"{path} expires in {duration(left_s)}", "renew it")
        else:
            yield EXPIRY.ok(f"{path} is valid for {duration(left_s)}")


def _names(pair: PairFacts, config: Config) -> Finding:
    host = config.proxy.host.strip("[]")
    told = f"it is for {listed(pair.names)}; proxy.host is {host!r}"
    with suppress(ValueError):
        if ip_address(host).is_unspecified:
            return NAMES.ok(f"{told}, every address of the machine")
    if any(_matches(host, name) for name in pair.names):
        return NAMES.ok(told)
    return NAMES.warning(told, "issue a certificate that names the host by which clients connect")


def _matches(host: str, name: str) -> bool:
    if name.startswith("*."):
        return host.partition(".")[2].lower() == name[2:].lower()
    return host.lower() == name.lower()


def _key(pair: PairFacts, mode: int) -> Finding:
    path = pair.files.key
    if mode & stat.S_IRWXO:
        return KEYS.warning(
            f"all users of this machine may use {path} (mode {mode:o})", f"chmod 600 {path}"
        )
    return KEYS.ok(f"{path} has mode {mode:o}")
