"""A cluster on this machine, out of Linux namespaces: real devices, a real API, nothing left when it ends.

`scene` says what it is made of, `scenes` has ready ones, `cluster.Lab` starts, enters and ends one. Inside,
`supervisor` is the lab's first process, `node` and `kubelet` are those of each node.
"""
