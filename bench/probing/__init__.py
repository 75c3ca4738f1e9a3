"""How long an exact path MTU takes in every scene of `kubemtu_lab.line`, beside the tools that people run instead.

    a [e0] --- [l] r1 [m] --- [m] r2 [r] --- [e0] b        all in one run; needs root

    peers     the other tools: how they are asked, and how their answers are read
    install   those that Debian and PyPI have
    ours      kubemtu inside a running process, and as a command
    cells     one tool in one scene: right or wrong, seconds, packets that left a
    crowd     many measurements at once: loss, a thousand peers, five thousand
    held      the figures against what they should be
    table     what is printed

`python -m bench.probing` takes twenty minutes, because peers wait in black holes; `--quick` leaves those out.
"""
