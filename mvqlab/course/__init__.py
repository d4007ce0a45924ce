"""What is taught: exercises and their solutions, grading, the lessons as a book."""
