"""What a Kubernetes URL says:
`kubernetes://[namespace][/cluster][?pod=…&kubeconfig=…&context=…&ttl_s=…]`."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from mishards.core.errors import ConfigError
from mishards.core.secret import redact

CLUSTER = "mishards"
TTL_S = 30.0
_LEAST_TTL_S = 3.0
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MOST_CLUSTER = 20
_OPTIONS = ("context", "kubeconfig", "pod", "ttl_s")


class KubernetesUrl(msgspec.Struct, frozen=True):
    """Where a cluster's Pods and Leases are, and how they are reached.

    Attributes:
        namespace: empty for that of the Pod this process runs in.
        cluster: names the cluster; the value of the label `app.kubernetes.io/instance`.
        pod: name of the Pod this process runs in; empty for the host's name, which is the same.
        kubeconfig: file that says how the API server is reached; empty for the Pod's account.
        context: of the kubeconfig; empty for its current one.
        ttl_s: a node whose entry was not renewed for so long is gone.
    """

    namespace: str = ""
    cluster: str = CLUSTER
    pod: str = ""
    kubeconfig: str = ""
    context: str = ""
    ttl_s: float = TTL_S


def parse_kubernetes_url(url: str) -> KubernetesUrl:
    """The parts of `url`; one of another scheme, as the metadata's may be, says nothing.

    Raises:
        ConfigError: a part cannot be used; names it and what is allowed.
    """
    parts = urlsplit(url)
    if parts.scheme != "kubernetes":
        return KubernetesUrl()
    namespace, cluster = unquote(parts.netloc), unquote(parts.path).strip("/") or CLUSTER
    for what, name, most in (
        ("namespace", namespace or "default", 63),
        ("cluster", cluster, _MOST_CLUSTER),
    ):
        if not _LABEL.fullmatch(name) or len(name) > most:
            raise _invalid(
                url, f"the {what} {name!r} is none: up to {most} of a-z, 0-9 and - are allowed"
            )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise _invalid(url, f"unknown parameter {unknown[0]!r}; known are: {', '.join(_OPTIONS)}")
    if "context" in options and not options.get("kubeconfig"):
        raise _invalid(url, "context needs kubeconfig")
    ttl_s = _ttl_s(url, options.pop("ttl_s", str(TTL_S)))
    return KubernetesUrl(namespace=namespace, cluster=cluster, ttl_s=ttl_s, **options)


def _ttl_s(url: str, text: str) -> float:
    try:
        ttl_s = float(text)
    except ValueError:
        ttl_s = 0.0
    if not _LEAST_TTL_S <= ttl_s <= 3600:
        raise _invalid(url, f"ttl_s is {text!r}; {_LEAST_TTL_S:g} to 3600 seconds are allowed")
    return ttl_s


def _invalid(url: str, reason: str) -> ConfigError:
    return ConfigError(f"invalid Kubernetes URL {redact(url)!r}: {reason}")
