"""What runs in the cluster: the agent that keeps one node true to its NodeMTU."""
