"""From what every node measured to the thing at fault.

marks      the exceptions of a round as bit masks, one plane for each way of going wrong
regions    where one fault would show: a row, a column, a node, what lies between zones, everything
cover      the fewest regions that explain a plane
sentences  what is said of each, and what to do about it
faults     a round in, faults out; and what to measure next to be sure
"""
