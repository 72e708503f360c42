"""The messages that beat sends, and how often: a setting; docs/operating.md tells each task."""

HOURLY = 60.0 * 60  # seconds
CELERY_BEAT_SCHEDULE = {
    # The sweep finds work that a lost message, a dead broker or an edit in SQL has left. It is one
    # query that reads only what is due. No message has `expires`: a worker whose clock is ahead
    # would throw all of them away. pricebook/beat.py bounds how many wait.
    "reprice": {"task": "services.tasks.set_price", "schedule": 2.0},
    "stamp": {"task": "services.tasks.set_comment", "schedule": 2.0},
    "run jobs": {"task": "services.tasks.run_jobs", "schedule": 2.0},
    "fold the total": {"task": "services.tasks.fold_total", "schedule": 5.0},
    "fold starts and ends to come": {
        "task": "services.tasks.fold_total",
        "kwargs": {"all_to_come": True},
        "schedule": HOURLY,
    },
    "make points": {"task": "services.tasks.make_points", "schedule": 5.0},
    "seal the ledger": {"task": "services.tasks.seal_ledger", "schedule": 60.0},
    "tell events": {"task": "events.tasks.tell_events", "schedule": 1.0},
    "forget old events": {"task": "events.tasks.forget_events", "schedule": HOURLY},
    "write when keys were used": {"task": "keys.tasks.write_last_used", "schedule": 60.0},
    "forget old answers": {"task": "pricebook.tasks.forget_answers", "schedule": HOURLY},
    "check the book": {"task": "services.tasks.check_book", "schedule": HOURLY},
}
