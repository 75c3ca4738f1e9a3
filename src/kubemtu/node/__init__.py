"""One machine's kernel, without Kubernetes: seen, measured from, and changed.

`observe` reads a node as one value, `kernel` is the interfaces that all this goes through, `change` makes a node true
to what is asked of it, `probe` measures paths, `evidence` reads what shows without a packet being sent.
"""
