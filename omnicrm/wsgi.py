import os

from django.core.wsgi import get_wsgi_application

from .counters import share_counters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "omnicrm.settings")
share_counters()
application = get_wsgi_application()
