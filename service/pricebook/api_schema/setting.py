"""A setting: how drf-spectacular makes the schema."""

from pricebook.kit import api_version

SPECTACULAR_SETTINGS = {
    "TITLE": "Pricebook",
    "DESCRIPTION": "A price book: who pays what for which service, and how much it is in total.",
    "VERSION": api_version.VERSION,
    "LICENSE": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
    # 3.1 says of each value whether it may be null, which 3.0 can't say of references.
    "OAS_VERSION": "3.1.0",
    "SERVERS": [{"url": "/"}],
    "DEFAULT_GENERATOR_CLASS": "pricebook.api_schema.auto.Generator",
    # The schema shows no data, and an integrator reads it before having a key.
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SERVE_INCLUDE_SCHEMA": False,
    # Names for two enums that would share one, and for one that would have two.
    "ENUM_NAME_OVERRIDES": {
        "PriceChangeKind": "price_changes.models.PriceChange.Kind",
        "PriceChangeKindToPlan": "price_changes.bodies.KINDS_TO_PLAN",
        "EndpointState": "events.queues.STATES",
        "EventType": "events.serializers.EVENT_TYPES",
        "JobStatus": "services.models.Job.Status",
        "KeyState": "keys.serializers.STATES",
        "PriceState": "services.models.Subscription.PriceState",
        "StatusEnum": "price_changes.models.PriceChange.Status",
    },
    "POSTPROCESSING_HOOKS": ["pricebook.api_schema.answers.finish"],
    "SWAGGER_UI_DIST": "SIDECAR",  # from a package, not from a CDN
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
