"""What is typed: one file a command, `mvqlab COMMAND ...`.

Whatever takes long to import is imported by the command that needs it: `mvqlab --help` is quick.
"""
