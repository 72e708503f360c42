"""The configuration of Flower (`--conf`): two pages that it leaves open take its password, too.

It is run by Flower and not imported, and each name here that is an option of Flower's sets that.
"""

from flower.views.monitor import Healthcheck, Metrics  # type: ignore[import-untyped]
from tornado.web import authenticated

for each in (Healthcheck, Metrics):
    each.get = authenticated(each.get)
