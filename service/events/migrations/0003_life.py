"""Events know in which life of the database they were made last.

A book that comes to this release in a server that it was loaded into before goes on by its place:
0066 of `services` has put the numbers to come behind all that are stored.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("events", "0002_happenings"), ("services", "0066_lives")]

    operations = [
        migrations.AddField("derived", "life", models.BigIntegerField(db_default=1)),
    ]
