"""What may be done about the people who work here."""

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from .errors import DomainError
from .history import acting
from .models import User
from .roles import Role


def add_colleague(*, name: str, email: str, role: str, language: str, by: User) -> User:
    """Let somebody work here; they choose a password through `sign_in_link`."""
    try:
        with transaction.atomic(), acting(by):
            return User.objects.create_user(email, None, name=name, role=role, language=language)
    except IntegrityError as error:
        raise DomainError(_("Somebody with this e-mail already works here.")) from error


@transaction.atomic
def change_colleague(pk: int, *, name: str, role: str, language: str, by: User) -> User:
    """Change who somebody is here; the last active administrator stays one."""
    colleague = _lock_among_administrators(pk, keeps_administering=role == Role.ADMINISTRATOR)
    colleague.name, colleague.role, colleague.language = name, role, language
    with acting(by):
        colleague.save(update_fields=["name", "role", "language"])
    return colleague


@transaction.atomic
def deactivate_colleague(pk: int, *, by: User) -> User:
    """Shut somebody out and end their sessions at once; what they did stays under their name."""
    if pk == by.pk:
        raise DomainError(_("You cannot deactivate yourself: ask another administrator."))
    colleague = _lock_among_administrators(pk, keeps_administering=False)
    colleague.is_active = False
    with acting(by):
        colleague.save(update_fields=["is_active"])
    _end_sessions(pk)
    return colleague


@transaction.atomic
def activate_colleague(pk: int, *, by: User) -> User:
    """Let somebody in again, with the password and second factor they had."""
    colleague = User.objects.select_for_update().get(pk=pk)
    colleague.is_active = True
    with acting(by):
        colleague.save(update_fields=["is_active"])
    return colleague


@transaction.atomic
def reset_second_factor(pk: int, *, by: User) -> User:
    """Forget somebody's phone, keys and recovery codes, and end their sessions: the phone may be stolen."""
    colleague = User.objects.select_for_update().get(pk=pk)
    with acting(by):
        Authenticator.objects.filter(user=colleague).delete()
    _end_sessions(pk)
    return colleague


@transaction.atomic
def end_sessions(pk: int, *, session_pk: int | None = None) -> None:
    """Sign somebody out of one browser, or of all."""
    User.objects.select_for_update().get(pk=pk)
    _end_sessions(pk, session_pk)


def sign_in_link(colleague: User) -> str:
    """The path of a page where this person, and nobody else, chooses a password.

    It works until it was used, the password changed otherwise, or PASSWORD_RESET_TIMEOUT has passed.
    """
    key = default_token_generator.make_token(colleague)
    return reverse("account_reset_password_from_key", args=[user_pk_to_url_str(colleague), key])


def _lock_among_administrators(pk: int, *, keeps_administering: bool) -> User:
    """Lock the colleague and all active administrators; refuse to lose the last of them.

    Two administrators who demote each other at the same time wait here for one another, and the second
    finds itself the last.
    """
    concerned = Q(pk=pk) | Q(role=Role.ADMINISTRATOR, is_active=True)
    locked = {user.pk: user for user in User.objects.select_for_update().filter(concerned).order_by("pk")}
    if pk not in locked:
        raise User.DoesNotExist
    others = [user for user in locked.values() if user.pk != pk and user.is_administrator]
    if locked[pk].is_administrator and not keeps_administering and not others:
        raise DomainError(_("This is the last administrator: make somebody else administrator first."))
    return locked[pk]


def _end_sessions(pk: int, session_pk: int | None = None) -> None:
    sessions = UserSession.objects.filter(user_id=pk)
    for session in sessions if session_pk is None else sessions.filter(pk=session_pk):
        session.end()
