"""A question to the agents, what they answer, and what that proves."""
