"""The MTU of one path: what to send, what it proves, and what is said of it."""
