"""From what every node measured to the thing at fault.

marks      the exceptions of a round as bit masks
planes     one plane of them for each way of going wrong
regions    where one fault would show: a row, a column, a node, what lies between zones, everything
suspects   how well a region explains a plane
cover      the fewest regions that explain one
sentences  what is said of each, and what to do about it
faults     a round in, faults out
follow     what to measure next, to be surer
remedies   what to do, in numbers, given what is so between the nodes themselves
"""
