import gc
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from pricebook.database.base import REPLICA
from pricebook.database.watched import LOOK_AFTER_BESIDE, WatchedReplica, pulse
from pricebook.kit.read_timeout import bound_reads
from pricebook.kit.session_limits import bound_requests
from pricebook.seeing import traces

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pricebook.settings")

traces.begin("web")
for database in settings.DATABASES.values():
    bound_requests(database)
    bound_reads(database)  # of the web server alone
if REPLICA in settings.DATABASES:
    pulse.look_after = WatchedReplica.pulse.look_after = LOOK_AFTER_BESIDE
application = get_wsgi_application()

# A page makes a thousand objects without a cycle: the garbage collector should not run after every
# 700 of them, nor go through all of Django each time that a generation is full.
gc.collect()
gc.freeze()
gc.set_threshold(20_000)
