"""The kernel's interfaces, as they are: rtnetlink, links, routes, network namespaces."""
