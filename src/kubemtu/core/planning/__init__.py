"""From what is so to what shall be: the plan, shown as a diff, and what to do about what was found."""
