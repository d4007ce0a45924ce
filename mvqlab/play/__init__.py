"""The instruments as a static page: the shipped models run in the visitor's browser, and no server computes.

    mvqlab play build --out FOLDER
    python -m http.server --directory FOLDER

What the page is made of stands in `static/`; the models come from `mvqlab.zoo.exported`, ONNX Runtime from
npm by `package-lock.json`.
"""
