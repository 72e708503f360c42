"""The price of a follower does not tell who has touched it: the catalogue decides that price.

So a revert of a set restores a row that only the catalogue has moved since, whether the ledger has
an entry of that, because a worker came late, or not.

Replaces `has_last_word` (0013).
"""

from importlib import import_module

from django.db import migrations

HAS_LAST_WORD = import_module("price_changes.migrations.0013_last_word_by_instants").HAS_LAST_WORD
BY_PRICE = """\
                       (client_id, service_id, plan_id, price, price_state, locked_until)
                       IS DISTINCT FROM
                       (lag(client_id) OVER written, lag(service_id) OVER written,
                        lag(plan_id) OVER written, lag(price) OVER written,
                        lag(price_state) OVER written, lag(locked_until) OVER written) AS says
"""
BY_PRICE_OF_ITS_OWN = """\
                       (client_id, service_id, plan_id, price_state, locked_until)
                       IS DISTINCT FROM
                       (lag(client_id) OVER written, lag(service_id) OVER written,
                        lag(plan_id) OVER written, lag(price_state) OVER written,
                        lag(locked_until) OVER written)
                       OR price_state <> 'follows'
                          AND price IS DISTINCT FROM lag(price) OVER written AS says
"""
assert BY_PRICE in HAS_LAST_WORD


class Migration(migrations.Migration):
    dependencies = [("price_changes", "0013_last_word_by_instants")]
    # Not to be reversed, as those that it follows.
    operations = [migrations.RunSQL(HAS_LAST_WORD.replace(BY_PRICE, BY_PRICE_OF_ITS_OWN))]
