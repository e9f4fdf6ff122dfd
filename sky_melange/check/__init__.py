"""The budget gate: a plan, today's prices and profiles, limits -> a report; two plans -> what changed.

checks.py      the lock, the load, the files beside plan.json, the drift
prices.py      every machine has a price, and none is too old
budget.py      total, worst case, overhead and month against the budget
policies.py    the rules of policy.yaml
repricing.py   the plan's machines at other prices, without solving
reverify.py    the plan's shares and loads under today's workload and profiles
lock.py        the workload file that the plan was made from, and what was edited since
report.py      every check, in order
plan_file.py   the same over files, with the prices of this moment
diff.py        what changed between two plans
inputs.py      what changed between two workloads or profiles
"""
