"""Catalogs over HTTP: SkyPilot's hosted ones, their mirror, or a company's copy.

bases.py       where they are: the default addresses, one's own, and how an address is shown without its password
store.py       the last good copy of each on the disk: whole or not at all
http.py        sessions: time of confirmation in place of the server's clock, and word when a connection stands
fetch.py       one catalog from one address: bounded, timed, conditional
fetch_error.py why it could not be had, in words
limits.py      how long to wait, and for how much
reach.py       which servers can be reached at all
retries.py     one catalog from all addresses: waits, tries again, goes on to the mirror
accept.py      what may take the place of the last good copy
refresh.py     all catalogs at once, within a time limit
source.py      the price source made of these
"""
