from __future__ import annotations

import pytest

from mishards.core.errors import ConfigError
from mishards.discovery.kubernetes_url import KubernetesUrl, parse_kubernetes_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", KubernetesUrl()),
        ("etcd://a:2379/mishards", KubernetesUrl()),
        ("kubernetes://", KubernetesUrl()),
        ("kubernetes:///blue", KubernetesUrl(cluster="blue")),
        ("kubernetes://search/blue/", KubernetesUrl(namespace="search", cluster="blue")),
        (
            "kubernetes://search?pod=reader-0&ttl_s=12.5",
            KubernetesUrl(namespace="search", pod="reader-0", ttl_s=12.5),
        ),
        (
            "kubernetes://?kubeconfig=/etc/a%20b&context=dev",
            KubernetesUrl(kubeconfig="/etc/a b", context="dev"),
        ),
    ],
)
def test_the_parts_of_a_url(url: str, expected: KubernetesUrl) -> None:
    assert parse_kubernetes_url(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kubernetes://Search", "the namespace 'Search' is none"),
        ("kubernetes://search/my_cluster", "the cluster 'my_cluster' is none"),
        (f"kubernetes:///{'a' * 21}", "up to 20 of a-z, 0-9 and - are allowed"),
        ("kubernetes://?pods=x", "unknown parameter 'pods'; known are: context, kubeconfig, pod"),
        ("kubernetes://?context=x", "context needs kubeconfig"),
        ("kubernetes://?ttl_s=soon", "ttl_s is 'soon'; 3 to 3600 seconds are allowed"),
        ("kubernetes://?ttl_s=2", "ttl_s is '2'; 3 to 3600 seconds are allowed"),
        ("kubernetes://?ttl_s=nan", "ttl_s is 'nan'"),
    ],
)
def test_what_is_wrong_with_a_url_is_named(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_kubernetes_url(url)
    assert message in caught.value.message
