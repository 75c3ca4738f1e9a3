"""What holds for every test."""

import os

from hypothesis import settings

# An example takes as long as the machine lets it: time is measured in bench/, never judged in a test. CI tries the same
# examples each time, so that it judges the change; new ones are looked for at everybody's own.
settings.register_profile("any machine", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("any machine")
