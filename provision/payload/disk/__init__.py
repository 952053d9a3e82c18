"""What ``provision disk`` runs in a child of its own: it reads as model loaders read, and times it.

Standard library only, Python 3.10, and nothing else of this tool, so that the folder can be copied anywhere and run:
``python -m disk '{"files": [["model.safetensors", 2147483648]], "seconds": 5, "bytes": 4294967296}'``. One JSON object a
line on standard output, as soon as each part is measured: what was said before a dead disk hung is kept.
"""
