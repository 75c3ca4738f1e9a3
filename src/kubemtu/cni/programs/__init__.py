"""What programs do that several pod networks run: their configuration, and the MTU that they make of it."""
