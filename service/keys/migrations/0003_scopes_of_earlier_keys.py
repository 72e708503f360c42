"""A key of the first release may read all, and do what was ticked.

Its scopes are written out here: what the words stand for later is no matter of these keys.
"""

from django.db import migrations

FORWARD = """
UPDATE rest_framework_api_key_apikey
   SET scopes = ARRAY['subscriptions:read', 'clients:read', 'services:read', 'plans:read',
                      'totals:read', 'ledger:read', 'price_changes:read'] ||
       ARRAY(SELECT scope
               FROM pricebook_apikeyrights given,
                    LATERAL (VALUES (may_plan, 'price_changes:plan'),
                                    (may_approve, 'price_changes:approve'),
                                    (may_set_price_states, 'price_states:set')) said (may, scope)
              WHERE api_key_id = rest_framework_api_key_apikey.id AND may)
 WHERE scopes = '{}'
"""
BACK = """
DELETE FROM pricebook_apikeyrights;
INSERT INTO pricebook_apikeyrights (api_key_id, may_plan, may_approve, may_set_price_states)
SELECT id, 'price_changes:plan' = ANY (scopes), 'price_changes:approve' = ANY (scopes),
       'price_states:set' = ANY (scopes)
  FROM rest_framework_api_key_apikey
 WHERE scopes && '{price_changes:plan, price_changes:approve, price_states:set}';
UPDATE rest_framework_api_key_apikey SET scopes = '{}'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("rest_framework_api_key", "0002_own_columns"),
        ("pricebook", "0001_rights_and_answers"),
    ]

    operations = [migrations.RunSQL(FORWARD, BACK)]
