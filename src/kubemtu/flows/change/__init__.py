"""A change of the pod MTU, from the plan to the proof: one driver, the agents it asks, and what both are held to."""
