"""Configuration of balancers before the proxies, made from the present topology."""
