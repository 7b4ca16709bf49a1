"""What the processes of `mishards up --processes` are told, and where all users can see it."""

from mishards.cli.up import _told
from mishards.server.config import load_config


def test_secrets_go_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MISHARDS_CLUSTER_SECRET_FILE", "/weaker")
    settings = [
        "cluster.secret=hush",
        "cluster.metadata=mysql://u:hush@h/d",
        "cluster.election_file=/e",
        "proxy.port=1",
    ]
    file = tmp_path / "c.toml"
    config = load_config(options={"cluster.data": "/data"}, environ={}).config
    options, environ = _told(file, config, settings)
    assert options == [
        *("--data", "/data", "--config", str(file)),
        *("--set", "cluster.election_file=/e", "--set", "proxy.port=1"),
    ]
    assert environ["MISHARDS_CLUSTER_SECRET"] == "hush"
    assert environ["MISHARDS_CLUSTER_METADATA"] == "mysql://u:hush@h/d"
    assert "MISHARDS_CLUSTER_SECRET_FILE" not in environ
