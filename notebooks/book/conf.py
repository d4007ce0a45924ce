"""How Sphinx renders the course. `make book` runs the notebooks first and calls it."""

project = "Masked vector quantisation, a course"
author = "the mvqlab authors"
copyright = f"2026, {author}"

extensions = ["myst_nb", "sphinx-mathjax-offline"]  # the second: equations without a network
nb_execution_mode = "off"  # the notebooks arrive executed
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
exclude_patterns = ["**.ipynb_checkpoints"]

html_theme = "furo"
html_title = "Masked vector quantisation"
html_show_sourcelink = False
html_show_search_summary = True  # excerpts, where a web server lets the browser read pages
html_static_path = ["static"]
html_css_files = ["course.css"]
