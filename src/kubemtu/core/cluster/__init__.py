"""What a cluster is, from what was observed: its pods, its CNI's state, the path of a packet layer by layer."""
