"""Reads the total of the book with the client that openapi-python-client has made, `pricebook_api`.

PRICEBOOK_URL=http://localhost:8000 PRICEBOOK_KEY=... python read.py
"""

import os
from decimal import Decimal

from pricebook_api import AuthenticatedClient
from pricebook_api.api.totals import totals

client = AuthenticatedClient(
    os.environ["PRICEBOOK_URL"], token=os.environ["PRICEBOOK_KEY"], prefix="Api-Key"
)
found = totals.sync(client=client)
total = Decimal(found.total_amount)
print(total, found.currency)
