"""What needs the cluster and the pure core together: observe and decide, install and uninstall.

`agents` asks the nodes' agents, `agentless` sees nodes without one, `measure` paths and meshes, `change` acts and
proves, `saved` reads a cluster from files.
"""
