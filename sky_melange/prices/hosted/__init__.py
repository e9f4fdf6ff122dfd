"""Catalogs over HTTP: SkyPilot's hosted ones, their mirror, or a company's copy.

bases.py    where they are: the default addresses, one's own, and how an address is shown without its password
session.py  HTTP: retries, bounded bodies, whether a server can be reached, errors in words
store.py    the last good copy of each on the disk: whole or not at all
fetch.py    one catalog from one address, all at once, and what may take the place of the last good copy
source.py   the price source made of these
"""
