"""Lowered texts say what Liquid says, whatever the template and whoever reads it."""

import quopri
from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from campaigns.lowering import Lowered, Slot, quoted
from campaigns.mime import BadAddress, Letter, MailWriter, checked_address
from campaigns.templates import FILTERS as FILTER_NAMES
from campaigns.templates import TAGS, Template

NAMES = ["first_name", "city", "traits.tier", "traits.size", "traits", "nobody", "unsubscribe_url"]
LITERALS = st.text(st.sampled_from("ab .\n\r\t=-_~é€😀<>&'\"|{ }%xX0123456789"), max_size=120).filter(
    lambda text: "{{" not in text and "{%" not in text and not text.endswith("{")
)
FILTERS = ["", " | upcase", ' | default: "friend"', " | truncate: 5", " | escape", " | capitalize | strip"]
OUTPUTS = st.builds(
    lambda name, how: "{{ " + name + how + " }}", st.sampled_from(NAMES), st.sampled_from(FILTERS)
)
CONDITIONS = st.sampled_from(
    ["first_name", "nobody", 'city == "Roma"', 'traits.tier != "gold"', "city contains 'o' and first_name"]
)


def wrapped(inner):
    def tag(condition, a, b, kind):
        if kind == "case":
            return "{% case city %}{% when 'Roma', 'Rho' %}" + a + "{% else %}" + b + "{% endcase %}"
        other = "elsif nobody" if kind == "elsif" else "else"
        name = "unless" if kind == "unless" else "if"
        return f"{{% {name} {condition} %}}{a}{{% {other} %}}{b}{{% end{name} %}}"

    return st.builds(tag, CONDITIONS, inner, inner, st.sampled_from(["if", "unless", "elsif", "case"]))


COMMENT = st.just("{% comment %}not for readers{% endcomment %}")
TEMPLATES = st.recursive(
    st.lists(st.one_of(LITERALS, OUTPUTS, COMMENT), max_size=6).map("".join),
    lambda inner: st.lists(st.one_of(inner, wrapped(inner)), max_size=4).map("".join),
    max_leaves=8,
)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\r .=<&'"), max_size=200)
VALUES = st.fixed_dictionaries(
    {
        "first_name": WORDS,
        "city": st.sampled_from(["Roma", "Rho", ""]) | WORDS,
        "traits": st.fixed_dictionaries({"tier": st.sampled_from(["gold", ""]) | WORDS}),
        "unsubscribe_url": st.just("https://shop.example/u/x-y"),
    }
)


def lines_of(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(TEMPLATES, VALUES, st.booleans())
@example(
    "{{ first_name }}.\n..{{ first_name }}",
    {"first_name": ".", "city": "", "traits": {}, "unsubscribe_url": ""},
    False,
)
def test_a_lowered_text_decodes_to_what_liquid_renders(source, values, html):
    template = Template(source, html=html)

    written = Lowered(template, quoted).write(values)

    assert lines_of(quopri.decodestring(written).decode()) == lines_of(template.render(values))
    assert Lowered(template, str.encode).write(values).decode() == template.render(values)


@given(TEMPLATES, VALUES)
def test_no_line_is_long_or_begins_with_a_dot(source, values):
    for line in Lowered(Template(source), quoted).write(values).split(b"\r\n"):
        assert len(line) <= 79
        assert not line.startswith(b".")


def test_a_slot_stands_where_its_variable_stood():
    slots = {"link_7": Slot("click", before="https://shop.example/c/", ending=b"7-tag=\r\n")}
    text = Lowered(Template("Look: {{ link_7 }}!"), quoted, slots)

    assert (
        quopri.decodestring(text.write({}, {"click": b"abc-"})) == b"Look: https://shop.example/c/abc-7-tag!"
    )


def test_a_tag_nobody_lowered_is_left_to_liquid(monkeypatch):
    monkeypatch.setattr("campaigns.lowering.CaseNode", Template)  # As if `case` were not known.
    text = Lowered(Template("{% case city %}{% when 'Rho' %}near{% endcase %}"), str.encode)

    assert not text.is_complete
    assert text.write({"city": "Rho"}) == b"near"


@given(VALUES, WORDS)
def test_pythons_own_parser_reads_every_mail_back(values, name):
    subject, text = Template("Ciao {{ first_name }}!"), Template("Dear {{ first_name }},\n.\n{{ city }}")
    html = Template("<p>{{ first_name }}</p>\n{% if city %}<i>{{ city }}</i>{% endif %}", html=True)
    writer = MailWriter(
        Letter(
            " ".join(name.split()),
            "shop@casa.example",
            "",
            Lowered(subject, str.encode),
            Lowered(text, quoted),
            Lowered(html, quoted),
        )
    )

    mail = writer.write(
        message_id="7.1",
        to="anna@casa.example",
        unsubscribe_url="https://x.example/u/1",
        values=values,
        slots={},
    )

    read = BytesParser(policy=policy.default).parsebytes(mail)
    assert not read.defects
    assert " ".join(read["Subject"].split()) == " ".join(subject.render(values).split())
    plain, rich = read.iter_parts()
    assert lines_of(plain.get_content()).rstrip("\n") == lines_of(text.render(values)).rstrip("\n")
    assert lines_of(rich.get_content()).rstrip("\n") == lines_of(html.render(values)).rstrip("\n")
    assert read["Message-ID"] == "<7.1@casa.example>"


@pytest.mark.parametrize(
    "address", ["é@x.it", "a b@x.it", "a@", "@x.it", "a@x\r\nBcc: b@y.it", "<a@x.it>", "a@x.it,b@y.it"]
)
def test_an_address_smtp_cannot_take_is_refused(address):
    with pytest.raises(BadAddress):
        checked_address(address)


def test_a_domain_beyond_ascii_travels_in_ascii():
    assert checked_address("info@caffè.it") == "info@xn--caff-8oa.it"


def test_everything_a_template_may_contain_is_lowered():
    with_values = {"truncate": ": 3", "default": ": 'x'"}
    filters = "".join(f"{{{{ city | {name}{with_values.get(name, '')} }}}}" for name in FILTER_NAMES)
    source = (
        "a{{ city }}{% comment %}b{% endcomment %}{% # c %}"
        "{% if city %}d{% elsif nobody %}e{% else %}f{% endif %}{% unless city %}g{% endunless %}"
        "{% case city %}{% when 'Rho' %}h{% else %}i{% endcase %}" + filters
    )
    named = {tag for tag in TAGS if tag.isalpha()} - {"content", "output", "illegal"}
    assert all("{% " + tag in source for tag in named), "A tag was added: lower it, and write it here."
    assert Lowered(Template(source), quoted).is_complete
