"""What Prometheus has to know of a cluster, made from the present topology."""
