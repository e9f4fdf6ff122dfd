"""Speed of the solver against the published formulation, and at scale."""
