"""Is it the MTU? From what was measured and seen of a path to one sentence: whether, where, how sure, what to do.

ends, lookup   what people name, and where that is
tasks          which ways are measured to answer for two ends: the whole path and its parts
courses        the path in one of its directions: what each part of it carries that way
looks          what both ends showed without being asked
whereabouts    where packets end, and what to do there
diagnosis      the answer
"""
