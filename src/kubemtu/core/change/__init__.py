"""A change of the pod MTU as values: the plan, the table of its phases, how far it is, and the way back."""
