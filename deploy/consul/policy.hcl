# What the token of the nodes may do: consul acl policy create -name mishards -rules @policy.hcl
service "mishards" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
key_prefix "mishards/" {
  policy = "write"
}
session_prefix "" {
  policy = "write"
}
