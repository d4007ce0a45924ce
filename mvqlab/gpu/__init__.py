"""What a machine with a GPU is asked for, in stages of a few minutes: ``mvqlab gpu``.

    check    does everything compute on the card what it computes on the CPU?
    bench    how quick is it, beside what the card allows and beside others' ways?
    pack     what `train` learns from, rendered into one file; on any machine, to be carried along
    train    the models that ship, one after another, as well as the seconds given allow

A stage is a row of parts. Each has a budget of its own and fails alone; what is known is on disk after every
row of results. `--device cpu --toy` runs check and bench, small, where there is no card. All of it has run on
one NVIDIA H100: see results/gpu.
"""
