# Of the agent on every machine that runs a node: consul agent -config-file agent.hcl
datacenter = "dc1"
data_dir   = "/var/lib/consul"
bind_addr  = "10.0.0.11"            # this machine's own
client_addr = "127.0.0.1"           # nodes ask the agent of their machine
retry_join = ["consul1", "consul2", "consul3"]

acl {
  enabled        = true
  default_policy = "deny"
  tokens {
    agent = "the agent's own token"
  }
}
