"""Several streams on one connection, as `kubectl exec` has them: WebSocket and SPDY/3.1, the server's side.

upgrade    a connection that leaves HTTP
websocket  v5.channel.k8s.io and v4.channel.k8s.io: a byte before each message says which stream
spdy       v4.channel.k8s.io as it was before: SPDY/3.1, a stream of its own for each
session    what both look like to a kubelet
"""
