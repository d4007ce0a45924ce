"""The kept pictures and tables, each made anew by `mvqlab results make NAME`."""
