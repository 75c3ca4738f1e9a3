"""Nodes seen without an agent of their own: by what already runs there, what others measure, or what is made for it."""
