"""Many clients or subscriptions, written by one request: created, changed, or left as they are.

    body ─ spooled ─▶ lines, each checked for itself (`lines`) ─▶ COPY into a temporary table
         ─▶ compared with the book ─▶ judged ─▶ written, all by a few statements ─▶ a result a line

A line names its record by `source` and `external_id`, and says how it is to be. The rules are those
of single objects (`services.writing`): fields and words are the same, and what a line changes is
what PATCH and the verbs would change.

All lines are one transaction, or each chunk of them is (`running`). Its temporary tables and the
steps are in `steps`, what is special to a kind of record in `subscriptions` and `clients`.
"""
