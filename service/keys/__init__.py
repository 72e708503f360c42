"""API keys of programs: who made them, what they may do, until when, and when they were used."""
