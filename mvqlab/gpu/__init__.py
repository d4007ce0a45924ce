"""What a machine with a GPU is asked for, in stages of a few minutes: ``mvqlab gpu check``.

    check    does everything compute on the card what it computes on the CPU?
    bench    how quick is it, beside what the card allows and beside others' ways?

A stage is a row of parts. Each has a budget of its own and fails alone; what is known is on disk after every
row of results. `--device cpu --toy` runs all of it, small, where there is no card.
"""
