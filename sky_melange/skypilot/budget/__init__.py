"""The budget guard's parts; `sky_melange.skypilot.budget_policy` puts them together.

machine.py    where the budgets and the ledger are, and the time
pricing.py    a task -> its worst-case hourly price, by SkyPilot's own optimizer
request.py    a request to SkyPilot -> what it would start, and for whom
running.py    what runs already, from SkyPilot's own state
guard.py      budgets, a claim and what is spent -> a verdict in words, and the price as a label on machines
ledger.py     launches that were let in and cannot be seen yet, in SQLite or PostgreSQL
"""
