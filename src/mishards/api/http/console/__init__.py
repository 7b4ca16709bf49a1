"""The console: web pages, made by the proxies, that show the cluster and steer it."""
