"""Writes the plain manifests of `deploy/kubernetes` from the chart: `python deploy/helm/render.py`.

The chart is rendered by Helm's own code, which the package `helm-python-sdk` brings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import yaml

HERE = Path(__file__).resolve().parent
CHART = HERE / "mishards"
PLAIN = HERE.parent / "kubernetes"
NAME = "mishards"
_HEADER = "# Made from the chart in deploy/helm by its render.py: change it there.\n"


def rendered(values: dict[str, Any], name: str = NAME) -> dict[str, str]:
    """The chart's manifests, by file; those that are empty are left out."""
    found = helm_python.Chart.load(CHART).render(values, name=name, namespace=name)
    files = {Path(path).name: text.strip() + "\n" for path, text in found.items()}
    return {
        file: text for file, text in sorted(files.items()) if file.endswith("yaml") and text.strip()
    }


def plain() -> dict[str, str]:
    """What lies in `deploy/kubernetes`, by file; what not every cluster can take is `optional`."""
    values = yaml.safe_load((HERE / "plain.yaml").read_text(encoding="utf-8"))
    files = {file: _HEADER + text for file, text in rendered(values).items()}
    optionals = ("ingress", "serviceMonitor", "prometheusRule")
    more = rendered({**values, **{name: {"enabled": True} for name in optionals}})
    optional = {
        f"optional/{file}": _HEADER + text for file, text in more.items() if file not in files
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}}
    files["namespace.yaml"] = _HEADER + yaml.safe_dump(namespace, sort_keys=False)
    listed = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAME,
        "resources": sorted(files),
    }
    kustomization = _HEADER + yaml.safe_dump(listed, sort_keys=False)
    return {**files, **optional, "kustomization.yaml": kustomization}


def main() -> None:
    """Write them."""
    (PLAIN / "optional").mkdir(parents=True, exist_ok=True)
    for old in PLAIN.rglob("*.yaml"):
        old.unlink()
    for file, text in plain().items():
        (PLAIN / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
