"""The parity report: one page of HTML."""
