"""Launches a plan folder through SkyPilot's SDK, keeps it in step with a changed plan, and takes it down.

units.py    what a plan runs: services, clusters and the router, each with a digest of what defines it
record.py   launch.json: what `up` started, so that it can be resumed, changed and taken down
steps.py    (units, record, what runs) -> steps, in order
cloud.py    what is asked of SkyPilot, as a protocol
sdk.py      the protocol by SkyPilot's SDK
up.py       carries them out
scale.py    the services of a plan with hours, to the instances of the hour
"""
