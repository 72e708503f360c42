"""Single clients, services, plans and subscriptions, written: created, changed, ended, deleted.

The API calls these. Each call checks its values by the rules of `services.fields`, which imports
keep too, and works in the transaction of its caller: it locks the row, as every writer does, and
then writes it. Triggers do the rest: prices, ledger, totals.

A value that can't be used, a row that is not there and a state that does not allow it are a
`Refusal`; nothing was written then, once the caller has rolled back.
"""
