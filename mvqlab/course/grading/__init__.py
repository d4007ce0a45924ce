"""Grading handed-in answers: a process that runs what a student wrote, and another that judges it.

    mvqlab course grade        the parent, one thread a copy: limits, the table
      checker                  the lecturer's cells and checks; its verdicts go to the parent
        student                the same cells and the student's answers; sends data when asked

Code of a student runs in the last alone. The checker takes what an exercise's names stand for as plain data,
numbers, words and arrays, and calls the functions among them with inputs of its own. Nothing that a student
prints, writes or patches is read by anybody.
"""
