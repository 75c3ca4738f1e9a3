"""What a pod network's MTU is, and what to do about it, as values: no file, no socket, no clock, no chance in here.

The modules are what everybody speaks of: objects of the API, a node's links and routes, headers, the snapshot of a
cluster, the codes of findings. Its rooms stand on each other, each knows only those named before it: `text`; `path`,
`change` and `evidence`; `mesh` and `disclosure`; `probe`, `cluster` and `printed`; `planning`; `why` and `rules`.
"""
