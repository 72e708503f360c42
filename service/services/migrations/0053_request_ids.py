"""The request that has written an entry of the ledger.

No function that writes entries is touched: the column has a default, which reads what the request
has set for its transaction, as `ledger_author()` reads the author. The function is STABLE, so the
entries that are there get its value of now, which is NULL, and none is rewritten.
"""

from django.db import migrations, models
from django.db.models import Func

REQUEST = """
CREATE FUNCTION ledger_request() RETURNS varchar(100) LANGUAGE sql STABLE
RETURN nullif(current_setting('pricebook.request', true), '')::varchar(100);
"""


class Migration(migrations.Migration):
    dependencies = [("services", "0052_moves_of_one_instant")]

    operations = [
        migrations.RunSQL(REQUEST, "DROP FUNCTION ledger_request()"),
        migrations.AddField(
            "ledgerentry",
            "request_id",
            models.CharField(
                max_length=100,
                null=True,
                db_default=Func(
                    function="ledger_request", output_field=models.CharField(max_length=100)
                ),
            ),
        ),
    ]
