"""Settings of the one-file project beside this."""

import os
from urllib.parse import urlparse

_database = urlparse(os.environ["DATABASE_URL"])
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": _database.path.lstrip("/"), "HOST": _database.hostname,
    "PORT": _database.port, "USER": _database.username, "CONN_MAX_AGE": 600}}
DEBUG = False
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.http.ConditionalGetMiddleware"]
ROOT_URLCONF = "app"
SECRET_KEY = "only here"
USE_TZ = True
