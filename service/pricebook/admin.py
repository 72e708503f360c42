"""Users and groups in the admin."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from pricebook.kit.book_admin import BookAdmin

for model in (User, Group):
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
