import pytest

from campaigns.templates import MAX_LENGTH, Template, TemplateProblem, check

PERSON = {"first_name": "Ada", "city": "", "traits": {"size": "44"}}


def test_variables_are_filled_with_a_fallback_for_what_is_not_known():
    text = "Hi {{ first_name }} of {{ city | default: 'somewhere' }}, size {{ traits.size }}"
    assert Template(text).render(PERSON) == "Hi Ada of somewhere, size 44"


def test_values_cannot_add_markup_to_a_mail():
    assert (
        Template("{{ first_name }}", html=True).render({"first_name": "<b>x</b>"}) == "&lt;b&gt;x&lt;/b&gt;"
    )


@pytest.mark.parametrize(
    "text",
    [
        "{{ settings.SECRET_KEY }}",
        "{{ password }}",
        "{{ customer.delete }}",
        "{{ first_name.__class__.__mro__ }}",
        "{{ traits }}",
        "{{ link_1 }}",
        "{{ env }}",
    ],
)
def test_nothing_off_the_allowlist_is_accepted(text):
    with pytest.raises(TemplateProblem, match="is not a variable"):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in (1..1000000000) %}x{% endfor %}",
        "{{ (1..1000000000) | join: 'x' }}",
        "{% assign a = 'aaaaaaaa' %}",
        "{% capture a %}x{% endcapture %}",
        "{{ first_name | replace: 'a', 'aaaaaaaaaaaaaaaa' }}",
        "{{ 9 | times: 9 }}",
        "{{ 'now' | date: '%999999999d' }}",
        "{% include 'secret' %}",
        "{% render 'secret' %}",
        "{{ first_name",
        "{% if first_name %}",
        "{% if " + "first_name and " * 2000 + "city %}{% endif %}",
        "{% if first_name %}" * 500 + "{% endif %}" * 500,
        "x" * (MAX_LENGTH + 1),
    ],
)
def test_what_could_loop_or_grow_is_refused_with_a_sentence(text):
    with pytest.raises(TemplateProblem) as problem:
        check(text)
    assert str(problem.value).endswith(".")


def test_output_is_bounded_by_the_templates_own_length():
    text = "{{ first_name | truncate: 999999999 }}" * 500
    assert len(Template(text).render({"first_name": "x" * 100})) == 50_000
