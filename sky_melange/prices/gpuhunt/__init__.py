"""The price source `gpuhunt`: a second, independent opinion, by the package of that name (extra `gpuhunt`).

names.py    its providers and GPUs in SkyPilot's words
worker.py   a program of its own that asks the package
source.py   runs it, keeps the last good answer, makes offers
"""
