"""The request that has written an entry of the ledger.

No function that writes entries is touched: the column has a default, which reads what the request
has set for its transaction, as `ledger_author()` reads the author. The column is added without one,
and NULL, so no entry is rewritten.
"""

from django.db import migrations, models
from django.db.models import Func

REQUEST = """
CREATE FUNCTION ledger_request() RETURNS varchar(100) LANGUAGE sql STABLE
RETURN nullif(current_setting('pricebook.request', true), '')::varchar(100);
"""
COLUMN = "ALTER TABLE services_ledgerentry ADD COLUMN request_id varchar(100)"
DEFAULT = "ALTER TABLE services_ledgerentry ALTER COLUMN request_id SET DEFAULT ledger_request()"


class Migration(migrations.Migration):
    dependencies = [("services", "0051_ids_elsewhere_once")]

    operations = [
        migrations.RunSQL(REQUEST, "DROP FUNCTION ledger_request()"),
        migrations.RunSQL(
            [COLUMN, DEFAULT],
            "ALTER TABLE services_ledgerentry DROP COLUMN request_id",
            state_operations=[
                migrations.AddField(
                    "ledgerentry",
                    "request_id",
                    models.CharField(
                        max_length=100,
                        null=True,
                        db_default=Func(
                            function="ledger_request",
                            output_field=models.CharField(max_length=100),
                        ),
                    ),
                )
            ],
        ),
    ]
