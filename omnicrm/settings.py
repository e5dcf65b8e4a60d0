"""Settings, all in one place, from the environment; `.env.example` names every variable."""

import logging
from pathlib import Path
from typing import Any

import environ
import pghistory
import structlog
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from core.logs import hide_addresses

from . import embedded
from .schedule import SCHEDULE

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
env.read_env(BASE_DIR / ".env")  # For laptops only: real variables win.
VAR_DIR = embedded.var_dir()

# Without DATABASE_URL this is a laptop, the demo or a test run: secrets are generated under var/.
IS_EMBEDDED = not env("DATABASE_URL", default="")
if IS_EMBEDDED:
    env.read_env(embedded.secrets_file())

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env("SECRET_KEY")  # No default: a missing secret must stop the boot.
ADDRESS_HASH_KEY = env("ADDRESS_HASH_KEY")  # Keys the suppression list; must outlive SECRET_KEY.
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])
PUBLIC_URL = env("PUBLIC_URL", default="http://localhost:8000")  # In links we send to customers.
USE_TLS = env.bool("USE_TLS", default=PUBLIC_URL.startswith("https://"))

INSTALLED_APPS = [
    "omnicrm",
    "analytics",
    "campaigns",
    "segments",
    "orders",
    "customers",
    "inventory",
    "core",
    "omnicrm.apps.SupportConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",  # The sign-in library's pages use its filters.
    "django.contrib.postgres",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "django_celery_beat",
    "django_htmx",
    "django_structlog",
    "health_check",
    "pghistory",
    "pgtrigger",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "core.middleware.SignInMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "core.middleware.LastSeenMiddleware",
    "core.middleware.SecondFactorMiddleware",
    "core.middleware.HistoryMiddleware",
    "core.middleware.RequestLogMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "omnicrm.urls"
WSGI_APPLICATION = "omnicrm.wsgi.application"
FORM_RENDERER = "core.forms.FormRenderer"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            # Ours last: both have a filter language_name.
            "builtins": ["django.templatetags.i18n", "core.templatetags.ui"],
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "core.context_processors.shell",
            ],
        },
    }
]

# --- data -------------------------------------------------------------------------------------

# What kind of process this is: web, worker or segments; empty for commands, which may take their time.
PROCESS = env("OMNICRM_PROCESS", default="")
STATEMENT_TIMEOUT_MS = {"web": 5_000, "worker": 60_000, "segments": 15_000}.get(PROCESS, 0)
SESSION_OPTIONS = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": 60_000,
    "role": env("DATABASE_ROLE", default=""),  # For one login with several roles; docs/runbook.md.
}
_database: dict[str, Any] = embedded.database() if IS_EMBEDDED else env.db("DATABASE_URL")
_url_options = _database.get("OPTIONS", {})
DATABASES = {
    "default": _database
    | {
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "application_name": f"omnicrm {PROCESS}".strip(),
            "connect_timeout": 5,  # A page waits no longer for a host that is gone; then it says 503.
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        }
        | _url_options
        | {
            "options": " ".join(
                [f"-c {name}={value}" for name, value in SESSION_OPTIONS.items() if value]
                + ([_url_options["options"]] if "options" in _url_options else [])
            )
        },
    }
}
PGHISTORY_OBJ_FIELD = pghistory.ObjForeignKey(related_name="history")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
REDIS_URL = env("REDIS_URL", default=embedded.redis_url())
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}
MEDIA_ROOT = VAR_DIR / "media"  # Uploaded files are read by the workers, never served by path.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
IMPORT_MAX_BYTES = env.int("IMPORT_MAX_BYTES", default=512 * 1024 * 1024)
SEGMENT_TIMEOUT_MS = env.int("SEGMENT_TIMEOUT_MS", default=15_000)  # Counting by a worker.
SEGMENT_WEB_TIMEOUT_MS = env.int("SEGMENT_WEB_TIMEOUT_MS", default=5_000)  # While somebody waits for it.
SEGMENT_REFRESH_MINUTES = env.int("SEGMENT_REFRESH_MINUTES", default=60)

# --- background work: PostgreSQL is the queue, Celery the doorbell --------------------------------

CELERY_BROKER_URL = env("BROKER_URL", default=REDIS_URL.replace("unix://", "redis+socket://", 1))
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 5}
CELERY_TASK_PUBLISH_RETRY = False  # A lost ring is harmless; a request that waits for one is not.
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = SCHEDULE
CELERY_TASK_ROUTES = {  # A slow count never delays what is to be sent, nor does a long file.
    task: {"queue": "segments"}
    for task in (
        "segments.*",
        "campaigns.tasks.measure_pressure",
        "campaigns.tasks.follow_habits",
    )
} | {f"{app}.tasks.run_import": {"queue": "imports"} for app in ("customers", "orders")}
CELERY_TASK_ROUTES["campaigns.tasks.measure_audience"] = {"queue": "pages"}  # Somebody waits for it.
DJANGO_STRUCTLOG_CELERY_ENABLED = True

# --- sending ------------------------------------------------------------------------------------

EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
vars().update(env.email_url("EMAIL_URL", default="smtp://127.0.0.1:8025"))
EMAIL_TIMEOUT = 15  # Well inside a lease.
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", default="OmniCRM <omnicrm@localhost>")
# Who carries mail: smtp, or a service provider by its name in django-anymail, whose settings are read from
# variables called ANYMAIL_…; with a provider and no EMAIL_URL, mail to colleagues goes the same way.
EMAIL_PROVIDER = env("EMAIL_PROVIDER", default="smtp")
ANYMAIL: dict[str, Any] = {
    key.removeprefix("ANYMAIL_"): value for key, value in env.ENVIRON.items() if key.startswith("ANYMAIL_")
}
# Checked by campaigns.channels.esp, since anymail would want another library for it.
RESEND_SIGNING_SECRETS = str(ANYMAIL.pop("RESEND_SIGNING_SECRET", "")).replace(",", " ").split()
if EMAIL_PROVIDER != "smtp" and not env("EMAIL_URL", default=""):
    EMAIL_BACKEND = f"anymail.backends.{EMAIL_PROVIDER}.EmailBackend"
# Whose webhooks are listened to: also the last provider's, for some days after a change.
EMAIL_REPORTS_FROM = env.list("EMAIL_REPORTS_FROM", default=[EMAIL_PROVIDER])
# Who carries text messages: sandbox, or twilio and whatever speaks its API.
SMS_PROVIDER = env("SMS_PROVIDER", default="sandbox")
TWILIO_BASE_URL = env("TWILIO_BASE_URL", default="https://api.twilio.com")
TWILIO_ACCOUNT_SID = env("TWILIO_ACCOUNT_SID", default="")
TWILIO_AUTH_TOKEN = env("TWILIO_AUTH_TOKEN", default="")  # Also what Twilio signs its callbacks with.
TWILIO_API_KEY = env("TWILIO_API_KEY", default="")  # To call with instead, when there is one.
TWILIO_API_SECRET = env("TWILIO_API_SECRET", default="")
TWILIO_MESSAGING_SERVICE_SID = env("TWILIO_MESSAGING_SERVICE_SID", default="")
SMS_SANDBOX_MODE = env("SMS_SANDBOX_MODE", default="")  # fail, bounce or delay: for every number.
EMAIL_CONNECTIONS = env.int("EMAIL_CONNECTIONS", default=4)  # Of one worker, to the mail server.
# For copies of a whole cluster's files, which cannot be told from the original: whatever the database says.
SENDS = env.bool("SENDS", default=True)
MESSAGE_LEASE_SECONDS = env.int("MESSAGE_LEASE_SECONDS", default=60)
# When leases have ended, workers who only could not write for a while get this long to say what they sent.
RECOVERY_GRACE_SECONDS = env.int("RECOVERY_GRACE_SECONDS", default=20)
# Channels whose messages wait for a report, not for a second try, when a worker died while sending them.
PARK_WHEN_IN_DOUBT = env.list("PARK_WHEN_IN_DOUBT", default=["sms"])
# Messages a second, all workers together: PROVIDER_RATES="smtp=50,twilio=10", DOMAIN_RATES="gmail.com=20".
PROVIDER_RATES = env.dict("PROVIDER_RATES", cast={"value": float}, default={})
DOMAIN_RATES = env.dict("DOMAIN_RATES", cast={"value": float}, default={})

# --- measuring: /metrics ------------------------------------------------------------------------

METRICS_TOKEN = env("METRICS_TOKEN", default="")  # Bearer; without one only this machine may read.
PROMETHEUS_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, float("inf"))

# --- people who work here -----------------------------------------------------------------------

AUTH_USER_MODEL = "core.User"
AUTHENTICATION_BACKENDS = [
    "core.auth.SignInBackend",
    "core.auth.RoleBackend",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "core:start"
ACCOUNT_ADAPTER = "core.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"  # Staff are invited by an administrator; nobody signs up.
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key"}
ALLAUTH_TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", default=0)
USERSESSIONS_TRACK_ACTIVITY = True
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG
REQUIRE_SECOND_FACTOR = env.bool("REQUIRE_SECOND_FACTOR", default=not IS_EMBEDDED)

# --- browser ------------------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "style-src": [SELF],
        "style-src-attr": ["'unsafe-inline'"],  # Widths of meters; a <style> element stays refused.
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [SELF],
    }
}
X_FRAME_OPTIONS = "DENY"  # The preview of a mail allows itself to be framed by us.
SECURE_SSL_REDIRECT = USE_TLS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if USE_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = USE_TLS
SECURE_HSTS_PRELOAD = USE_TLS
SECURE_REFERRER_POLICY = "same-origin"
if env.bool("BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = USE_TLS
SESSION_COOKIE_AGE = 14 * 24 * 3600
CSRF_FAILURE_VIEW = "core.views.csrf_failure"

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = VAR_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if env.bool("HASHED_STATIC_FILES", default=not DEBUG)
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG

# --- languages ------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("it", _("Italian"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["omnicrm.formats"]
TIME_ZONE = env("TIME_ZONE", default="Europe/Rome")
DEFAULT_COUNTRY = env("DEFAULT_COUNTRY", default="IT")  # For phone numbers written without a prefix.

# --- logs: one JSON line per event, ids only, never personal data ---------------------------------

LOG_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso"),
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                hide_addresses,
                structlog.dev.ConsoleRenderer(colors=False) if DEBUG else structlog.processors.JSONRenderer(),
            ],
            "foreign_pre_chain": LOG_PROCESSORS,
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.request": {"level": "CRITICAL"},  # RequestLogMiddleware says it without the address.
        "django.server": {"level": "WARNING"},
        "mail.log": {"level": "WARNING"},
    },
}
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *LOG_PROCESSORS,
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
DJANGO_STRUCTLOG_USER_ID_FIELD = "pk"
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG  # One line per request: when it is answered.
