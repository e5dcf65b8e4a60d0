from django.contrib.postgres.operations import TrigramExtension
from django.db import migrations


class Migration(migrations.Migration):
    """Trigram search for names and addresses."""

    dependencies = []
    operations = [TrigramExtension()]
