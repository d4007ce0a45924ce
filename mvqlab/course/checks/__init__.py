"""What the lessons' exercises are checked against, one module a lesson, one function an exercise.

They lie here and not in the notebooks, where the right answer would stand right below the question:

    with exercise("1") as check:
        checks.exercise_1(check, half_life)

Each takes the check, what the student wrote, whatever that is, and what else the notebook has at hand.
"""
