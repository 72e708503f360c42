"""What tells an operator how the book runs: probes, metrics, a line in the log for each request.

/livez, /readyz, /metrics ──▶ ProbesMiddleware ──▶ Look ──▶ a session of its own ──▶ PostgreSQL
any other request ──────────▶ AccessMiddleware ──▶ a line in the log, a time in `measured`
a task of a worker ─────────▶ task_times ────────▶ a time in `measured`
"""
