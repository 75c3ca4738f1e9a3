"""Is it the MTU? From what was measured and seen of a path to one sentence: whether, where, how sure, what to do.

endpoints, lookup        what people name, and where that is
legs                     what is measured to answer for two ends: the whole path and its parts
directions               the path in one of its directions: what each part of it carries that way
passive                  what both ends showed without a packet being sent
location, selective      where packets end, and what to do there; what is lost by what it is, and not by its size
case                     all that is known of one path, and the form of the answer
at_fault, not_at_fault   the sentence that says that it is the MTU, or what it is instead
diagnosis                the answer
"""
