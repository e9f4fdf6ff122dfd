"""Why a plan is what it is, why there is none, and what would change that. Every figure comes from a solve."""
