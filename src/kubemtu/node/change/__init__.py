"""Changes to one node's kernel: what it is, what it should be, the steps between, and the way back."""
