"""What fits: checkpoints read from their headers (``checkpoint``), and the arithmetic of memory over them.

Everything here is arithmetic and reading: no torch, no network, nothing is changed. The files that are read are those of
the folder that the user named.
"""
