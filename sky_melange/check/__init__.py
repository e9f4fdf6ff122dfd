"""The budget gate: a plan, today's prices and profiles, limits -> a report; two plans -> what changed.

checks.py      prices and their ages, the lock, the load, the files beside plan.json, the drift
policies.py    the costs against the budget, and the rules of policy.yaml
repricing.py   the plan's machines at other prices, without solving
reverify.py    the plan's shares and loads under today's workload and profiles
report.py      every check, in order
plan_file.py   the same over files, the workload file that the plan was made from, with the prices of this moment
diff.py        what changed between two plans, their workloads and profiles
"""
