import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from pricebook.read_timeout import bound_reads

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pricebook.settings")

bound_reads(settings.DATABASES["default"])  # of the web server, and nobody else
application = get_wsgi_application()
