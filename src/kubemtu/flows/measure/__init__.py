"""Measurements over the agents: one path and its parts, or everybody to everybody."""
