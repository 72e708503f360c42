"""Users, groups and API keys in the admin."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from rest_framework_api_key.admin import APIKeyModelAdmin
from rest_framework_api_key.models import APIKey
from unfold.admin import StackedInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from pricebook.kit.book_admin import BookAdmin
from pricebook.kit.tables import ApiKeyRights

for model in (User, Group, APIKey):
    admin.site.unregister(model)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, BookAdmin):  # type: ignore[misc]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "is_staff", "is_superuser", "last_login"]


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, BookAdmin):  # type: ignore[misc]
    pass


class ApiKeyRightsInline(StackedInline):
    model = ApiKeyRights
    can_delete = False


@admin.register(APIKey)
class APIKeyAdmin(APIKeyModelAdmin, BookAdmin):  # type: ignore[misc]
    """Keys for programs. A key is shown once, when made; it may read, and do what is ticked."""

    list_display = ("name", "prefix", "created", "expiry_date", "_has_expired", "revoked")
    inlines = (ApiKeyRightsInline,)
