"""Real traffic between the pods of a lab, with books that must add up.

`plan` says who talks to whom, `run.Traffic` starts one `pod` process in every namespace and marks the moments of a
change in all of their books, `accounting.balance` merges the books into one `Tally`. A datagram is lost silently when
it was sent, did not arrive, and its sender was told nothing: the one kind of loss that a program cannot mend.
"""
