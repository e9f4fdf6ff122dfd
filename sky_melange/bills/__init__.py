"""Bills: exports in the columns of FOCUS, and OpenCost's, against plans.

rows.py        CSV (also compressed) and Parquet -> rows of text, streamed; what is wrong with them, with its line
focus.py       the rows of a FOCUS export -> charges; what AWS, Azure and GCP each do their own way
opencost.py    OpenCost's answer to /allocation, and its CSV -> charges
causes.py      which line a charge belongs to, what was billed for it, and why that is not what was planned
comparison.py  charges and plans -> planned, billed, and the difference by cause, to the cent
"""

from __future__ import annotations

from sky_melange.bills.comparison import compare_bill
from sky_melange.bills.rows import BillOptions

__all__ = ["BillOptions", "compare_bill"]
