"""The story of one operator on the lab: what happens in it, and how it is shown."""
