"""What is remembered: journal, register of plans, lease, and the tape of what was seen."""
