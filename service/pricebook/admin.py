"""Users and groups in the admin."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from clients.logins import another_of_email, another_of_name
from pricebook.kit.book_admin import BookAdmin

for model in (User, Group):
    admin.site.unregister(model)


class ChangeForm(UserChangeForm):
    """A user's name and e-mail are no other user's, whatever the case of the letters."""

    def clean_username(self) -> str:
        username: str = self.cleaned_data["username"]
        if "username" in self.changed_data and another_of_name(username, self.instance):
            raise ValidationError(_("A user of this name, in some case, already exists."))
        return username

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        if "email" not in self.changed_data:
            return email
        if other := another_of_email(email, self.instance):
            raise ValidationError(
                _("This is the e-mail of %(username)s, in some case.")
                % {"username": other.username}
            )
        return email


@admin.register(User)
class UserAdmin(DjangoUserAdmin, BookAdmin):  # type: ignore[misc]
    form = ChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "is_staff", "is_superuser", "last_login"]


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, BookAdmin):  # type: ignore[misc]
    pass
