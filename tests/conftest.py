"""What holds for every test."""

from hypothesis import settings

# An example takes as long as the machine lets it: time is measured in bench/, never judged in a test.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
