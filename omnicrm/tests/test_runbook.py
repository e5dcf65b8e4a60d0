"""What the documents tell people to type exists, and where alerts send them is written."""

import re
import shlex
from pathlib import Path

import pytest
from django.core.management import CommandError, get_commands, load_command_class

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_COMMAND = re.compile(r"manage\.py ((?:[a-z_]+)(?: +[^`\n#|]*)?)")


def _commands() -> list[tuple[str, str]]:
    """Each document's name with each command it names, as written."""
    return [
        (path.name, match[1].strip().rstrip(".,;:)"))
        for path in DOCUMENTS
        for match in _COMMAND.finditer(path.read_text())
    ]


@pytest.mark.parametrize(("document", "command"), [pair for pair in _commands() if " -" in pair[1]])
def test_a_command_with_options_is_taken(document: str, command: str):
    name, *arguments = shlex.split(command)
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    try:
        parser.parse_args(arguments)
    except CommandError as error:
        pytest.fail(f"{document} says `manage.py {command}`: {error}")


def test_every_command_exists():
    found = _commands()

    unknown = {pair for pair in found if pair[1].split()[0] not in get_commands()}
    assert not unknown
    assert len(found) > 20


def test_alerts_lead_to_paragraphs_that_are_there():
    links = re.findall(r'"docs/([a-z]+\.md)#([a-z0-9-]+)"', (ROOT / "docs" / "alerts.yml").read_text())

    missing = {(page, anchor) for page, anchor in links if anchor not in _anchors(ROOT / "docs" / page)}
    assert links
    assert not missing


def test_links_between_documents_lead_somewhere():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def _anchors(path: Path) -> set[str]:
    """The ends of the addresses of a document's headings, as GitHub and others make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
