"""The grid: one notebook run once for each point of an ablation, each in a process of its own.

    spec      the grid file: what is asked for
    notebook  the parameters that its notebook takes
    points    its points, each checked and given an identity
    shared    a stage 1 that several points need, trained once
    status    what a point's folder says about it, and the lock on it
    execute   one point, run in this process by papermill (`mvqlab grid run-one`)
    process   a point's process: its group, its environment, how it is stopped
    runner    all points, one process after the other (`mvqlab grid run`)
    report    plans and tables for a terminal

Only nbformat is imported here, before any other module can import it the slow way.
"""

from mvqlab.grid import lean_nbformat as lean_nbformat
