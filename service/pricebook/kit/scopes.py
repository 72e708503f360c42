"""The scopes of API keys, each with the permissions of people that it stands for."""

from __future__ import annotations

from collections.abc import Iterable

VIEW_SUBSCRIPTION = "services.view_subscription"
VIEW_SERVICE = "services.view_service"
VIEW_PLAN = "services.view_plan"
VIEW_CLIENT = "clients.view_client"
VIEW_TOTALS = "services.view_subtotal"
VIEW_LEDGER = "services.view_ledgerentry"
VIEW_CHANGE = "price_changes.view_pricechange"
PLAN = "price_changes.add_pricechange"
APPROVE = "price_changes.approve_pricechange"
PULL_BRAKE = "price_changes.pull_brake"
SET_PRICE_STATE = "services.set_price_state"
ADD_SUBSCRIPTION = "services.add_subscription"
CHANGE_SUBSCRIPTION = "services.change_subscription"
DELETE_SUBSCRIPTION = "services.delete_subscription"
ADD_CLIENT = "clients.add_client"
CHANGE_CLIENT = "clients.change_client"
DELETE_CLIENT = "clients.delete_client"
ADD_SERVICE = "services.add_service"
CHANGE_SERVICE = "services.change_service"
DELETE_SERVICE = "services.delete_service"
ADD_PLAN = "services.add_plan"
CHANGE_PLAN = "services.change_plan"
DELETE_PLAN = "services.delete_plan"
VIEW_KEY = "rest_framework_api_key.view_apikey"
MAKE_KEY = "rest_framework_api_key.add_apikey"
CHANGE_KEY = "rest_framework_api_key.change_apikey"
VIEW_EVENT = "events.view_event"
VIEW_ENDPOINT = "events.view_endpoint"
ADD_ENDPOINT = "events.add_endpoint"
CHANGE_ENDPOINT = "events.change_endpoint"
DELETE_ENDPOINT = "events.delete_endpoint"

SCOPES: dict[str, tuple[str, ...]] = {
    "subscriptions:read": (VIEW_SUBSCRIPTION,),
    "clients:read": (VIEW_CLIENT,),
    "services:read": (VIEW_SERVICE,),
    "plans:read": (VIEW_PLAN,),
    "totals:read": (VIEW_TOTALS,),
    "ledger:read": (VIEW_LEDGER,),
    "price_changes:read": (VIEW_CHANGE,),
    "events:read": (VIEW_EVENT,),
    "price_changes:plan": (PLAN,),
    "price_changes:approve": (APPROVE,),
    "brake:pull": (PULL_BRAKE,),
    "price_states:set": (SET_PRICE_STATE,),
    "subscriptions:write": (ADD_SUBSCRIPTION, CHANGE_SUBSCRIPTION, DELETE_SUBSCRIPTION),
    "clients:write": (ADD_CLIENT, CHANGE_CLIENT, DELETE_CLIENT),
    "services:write": (ADD_SERVICE, CHANGE_SERVICE, DELETE_SERVICE),
    "plans:write": (ADD_PLAN, CHANGE_PLAN, DELETE_PLAN),
    "webhooks:manage": (VIEW_ENDPOINT, ADD_ENDPOINT, CHANGE_ENDPOINT, DELETE_ENDPOINT),
    "keys:manage": (VIEW_KEY, MAKE_KEY, CHANGE_KEY),
}
READ_SCOPES = tuple(scope for scope in SCOPES if scope.endswith(":read"))
# A key that could give it to a key that it makes would live on in that one.
OF_PEOPLE_ALONE = "keys:manage"


def permissions_of(scopes: Iterable[str]) -> frozenset[str]:
    """The permissions that scopes stand for; one that is not known stands for none."""
    return frozenset(permission for scope in scopes for permission in SCOPES.get(scope, ()))


def scopes_for(permission: str) -> list[str]:
    """The scopes that give a key this permission."""
    return [scope for scope, permissions in SCOPES.items() if permission in permissions]
